// Makes many connections to several destinations and checks for each that the right one answered.
import { connect } from 'node:net'

const [total, clients, ...targets] = process.argv.slice(2)
const destinations = targets.map((text) => {
  const [name, address] = text.split('=')
  const [host, port] = address.split('|')
  return { name, host, port: Number(port) }
})
const report = { ok: 0, wrong: 0, failed: 0, errors: {}, perDestination: {} }
let next = 0

async function client() {
  while (next < Number(total)) {
    const destination = destinations[next++ % destinations.length]
    try {
      const told = JSON.parse(await answerOf(destination))
      const isRight = told.name === destination.name
      report[isRight ? 'ok' : 'wrong']++
      const to = isRight ? destination.name : `${destination.name} answered by ${told.name}`
      report.perDestination[to] = (report.perDestination[to] ?? 0) + 1
    } catch (error) {
      report.failed++
      const name = error.code ?? error.message
      report.errors[name] = (report.errors[name] ?? 0) + 1
    }
  }
}

function answerOf({ host, port }) {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect({ host, port, autoSelectFamily: false })
    socket.setTimeout(20_000, () => socket.destroy(new Error('timeout')))
    socket.setEncoding('utf8').on('data', (piece) => {
      text += piece
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(text))
    socket.on('end', () => socket.end())
  })
}

await Promise.all(Array.from({ length: Number(clients) }, client))
console.log(JSON.stringify(report))
