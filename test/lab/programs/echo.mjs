// The echo server in Node: answers what it is sent, and ends its side after the client did.
import { createServer } from 'node:net'

const [port, host] = process.argv.slice(2)
const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', (error) => console.log(`error ${error.code}`))
  socket.pipe(socket)
})
server.listen({ port: Number(port), host, backlog: 4096 }, () => {
  console.log(`listening ${server.address().port}`)
})
