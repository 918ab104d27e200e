// Run without capabilities: tells the errno of what needs them.
import { readFileSync } from 'node:fs'
import { KernelError } from '../../src/kernel/kernel.ts'
import { nativeKernel } from '../../src/kernel/native.ts'

const kernel = nativeKernel()
const [, , namespacePath = '', objectPath = ''] = process.argv
const shape = { type: 'hash', keySize: 4, valueSize: 4, maxEntries: 1 } as const
const local = { address: '127.0.0.1', port: 0 } as const
const listener = await kernel.listen(local)
const destination = listener.local
await kernel.connect({ ...destination, timeoutMs: 5000 })

async function errnoOf(run: () => unknown): Promise<string> {
  try {
    await run()
    return 'ok'
  } catch (error) {
    return error instanceof KernelError ? error.errnoName : String(error)
  }
}

const bytes = readFileSync(objectPath)
const result = {
  createMap: await errnoOf(() => kernel.createMap({ name: 'powerless', ...shape })),
  loadObject: await errnoOf(() => kernel.loadObject({ bytes, name: 'sample' })),
  openMapById: await errnoOf(() => kernel.openMapById(1)),
  setns: await errnoOf(() => kernel.openNamespace(namespacePath)),
  transparent: await errnoOf(() => kernel.listen({ ...local, transparent: true })),
  mark: await errnoOf(() => kernel.listen({ ...local, mark: 1 })),
  destroySockets: await errnoOf(() => kernel.destroySockets({ family: 4, destination })),
  listen: await errnoOf(() => kernel.listen(local)),
}
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0))
