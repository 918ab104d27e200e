// Holds many connections to an echo server and, for each line of standard input, uses all of them.
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'

const [host, port, count] = process.argv.slice(2)
const sockets = []
let ended = 0
for (let at = 0; at < Number(count); at++) {
  const socket = connect({ host, port: Number(port), autoSelectFamily: false })
  socket.setEncoding('utf8').setNoDelay(true)
  socket.on('error', () => {})
  socket.on('end', () => ended++)
  sockets.push(socket)
  // A few at a time, as a population of long-lived clients grows.
  if (at % 50 === 49) await Promise.all(sockets.slice(-50).map(settled))
}
await Promise.all(sockets.map(settled))
console.log(`held ${sockets.filter((socket) => socket.readyState === 'open').length}`)

let round = 0
for await (const _ of createInterface({ input: process.stdin })) {
  round++
  const answers = await Promise.all(sockets.map((socket, at) => ask(socket, `${round}:${at}\n`)))
  const ok = answers.filter(Boolean).length
  const failed = answers.length - ok
  console.log(JSON.stringify({ round, ok, failed, ...(ended > 0 ? { ended } : {}) }))
}
for (const socket of sockets) socket.destroy()

function settled(socket) {
  if (!socket.connecting) return undefined
  return Promise.race([once(socket, 'connect').catch(() => {}), once(socket, 'close')])
}

function ask(socket, line) {
  if (socket.destroyed) return false
  return new Promise((resolve) => {
    let got = ''
    const end = (isOk) => {
      clearTimeout(timer)
      socket.off('data', onData).off('close', onClose)
      resolve(isOk)
    }
    const onData = (text) => {
      got += text
      if (got.length >= line.length) end(got === line)
    }
    const onClose = () => end(false)
    const timer = setTimeout(onClose, 15_000)
    socket.on('data', onData).on('close', onClose)
    socket.write(line)
  })
}
