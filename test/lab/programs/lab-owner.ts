// Opens a lab, says its prefix, and ends in the way its argument says; for the tests of clean-up.
import { Lab } from '../lab.ts'

const [mode] = process.argv.slice(2)
const lab = await Lab.open({ ownSignals: mode !== 'own-handler' })
const node = await lab.node('one')
const pod = await node.pod('a')
await pod.run(['sleep', 'infinity'])
if (mode === 'own-handler') {
  process.once('SIGINT', () => void lab.close().then(() => process.exit(0)))
}
console.log(lab.prefix)
if (mode === 'throw') throw new Error('uncaught on purpose')
if (mode === 'exit') process.exit(0)
setInterval(() => {}, 60_000)
