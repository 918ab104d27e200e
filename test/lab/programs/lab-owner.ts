// Opens a lab, says its prefix, and ends in the way its argument says; for the tests of clean-up.
import { Lab } from '../lab.ts'

const lab = await Lab.open()
const node = await lab.node('one')
const pod = await node.pod('a')
await pod.run(['sleep', 'infinity'])
console.log(lab.prefix)
const [mode] = process.argv.slice(2)
if (mode === 'throw') throw new Error('uncaught on purpose')
if (mode === 'exit') process.exit(0)
setInterval(() => {}, 60_000)
