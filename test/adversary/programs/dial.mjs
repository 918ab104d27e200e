// Dials a tunnel door as told by one argument of JSON, and reports one line of JSON: how TLS went,
// and what each request was answered.
import { readFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:tls'

const TIMEOUT_MS = 5_000
const { host, port, cert, key, tls = {}, requests = [] } = JSON.parse(process.argv[2] ?? '{}')

const report = { tls: '', answers: [] }
const socket = connect({
  host,
  port,
  // Whom it reaches is not its concern.
  rejectUnauthorized: false,
  ...(cert === undefined ? {} : { cert: readFileSync(cert), key: readFileSync(key) }),
  ALPNProtocols: ['h2'],
  ...tls,
})
socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('timeout')))
const closed = new Promise((resolve) => {
  socket.on('error', (error) => {
    report.error = error.code ?? error.message
  })
  socket.on('close', () => resolve('closed'))
})
const secured = new Promise((resolve) => {
  socket.on('secureConnect', resolve)
})

await Promise.race([secured, closed])
if (!socket.destroyed) {
  report.tls = `${socket.getProtocol()} ${socket.alpnProtocol}`
  const session = connectHttp2('https://door', { createConnection: () => socket })
  session.on('error', (error) => {
    report.error = error.code ?? error.message
  })
  const greeted = new Promise((resolve) => {
    session.once('remoteSettings', () => resolve(true))
  })
  // A client learns only by silence or an end that its certificate was refused.
  report.accepted = (await Promise.race([greeted, closed])) === true
  if (report.accepted) for (const each of requests) report.answers.push(await ask(session, each))
  session.destroy()
}
socket.destroy()
console.log(JSON.stringify(report))

/** The status; with a message, what came back of it. */
function ask(session, { message, ...headers }) {
  return new Promise((resolve) => {
    const answer = { status: 0, body: '' }
    const stream = session.request(headers, { endStream: message === undefined })
    stream.setTimeout(TIMEOUT_MS, () => stream.close())
    stream.on('response', (head) => {
      answer.status = head[':status']
      if (message !== undefined && answer.status === 200) stream.end(message)
      else stream.close()
    })
    stream.setEncoding('utf8').on('data', (text) => {
      answer.body += text
    })
    stream.on('error', (error) => {
      answer.error = error.code
    })
    stream.on('close', () => resolve(answer))
  })
}
