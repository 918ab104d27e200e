// The catalogue, in Node: GET /products asks the stock how many there are. Knows no mesh.
import { createServer } from 'node:http'
import { connect } from 'node:net'

const [, , port, stockAddress, secret] = process.argv
const [stockHost, stockPort] = stockAddress.split(':')

/** One line to the stock, one line back. */
function stockOf(article) {
  return new Promise((resolve, reject) => {
    const startedMs = performance.now()
    let text = ''
    const socket = connect({ host: stockHost, port: Number(stockPort), allowHalfOpen: true })
    socket.setTimeout(10_000, () => socket.destroy(new Error('the stock does not answer')))
    socket.on('connect', () => socket.end(`${article}\n`))
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('error', reject)
    socket.on('end', () => resolve({ text: text.trim(), ms: performance.now() - startedMs }))
  })
}

function tell(ok, ms) {
  process.stdout.write(`${JSON.stringify({ edge: 'catalog stock', ok, ms })}\n`)
}

const server = createServer(async (_request, response) => {
  try {
    const { text, ms } = await stockOf(`book ${secret}`)
    const ok = text.startsWith('7 ')
    tell(ok, ms)
    response.writeHead(ok ? 200 : 502).end(`book: ${text}\n`)
  } catch (error) {
    tell(false, 0)
    response.writeHead(502).end(`${error}\n`)
  }
})
server.listen(Number(port), () => console.log('catalog serves'))
