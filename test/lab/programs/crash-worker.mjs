// Makes a worker thread of a Node process throw, through the inspector that SIGUSR1 opens: as a
// defect in the worker would, and without a door for it in the process.
const [port, name] = process.argv.slice(2)
const CRASH = `setImmediate(() => { throw new Error('crashed by a test') })`

const [target] = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()
const socket = new WebSocket(target.webSocketDebuggerUrl)
let sent = 0
let isFound = false

function send(method, params) {
  socket.send(JSON.stringify({ id: ++sent, method, params }))
}

socket.addEventListener('open', () => send('NodeWorker.enable', { waitForDebuggerOnStart: false }))
socket.addEventListener('message', ({ data }) => {
  const { method, params } = JSON.parse(data)
  // The answer to what the worker was sent.
  if (method === 'NodeWorker.receivedMessageFromWorker') process.exit(0)
  if (method !== 'NodeWorker.attachedToWorker' || isFound) return
  if (!params.workerInfo.title.endsWith(name)) return
  isFound = true
  const evaluate = { id: 1, method: 'Runtime.evaluate', params: { expression: CRASH } }
  const { sessionId } = params
  send('NodeWorker.sendMessageToWorker', { sessionId, message: JSON.stringify(evaluate) })
})
socket.addEventListener('error', () => process.exit(1))
