// The compliance suite of the Kernel port: what every caller may rely on, of either kernel.
import type { TestFn } from 'ava'
import { datagramSuite } from './datagrams.ts'
import { mapSuite } from './maps.ts'
import { namespaceSuite } from './namespaces.ts'
import { objectSuite } from './objects.ts'
import type { Rig } from './rig.ts'
import { socketSuite } from './sockets.ts'
import { unixSuite } from './unix.ts'

/** One rig serves the whole file; tests run one after the other. */
export function compliance(test: TestFn, open: () => Promise<Rig>): void {
  let opened: Rig | undefined
  test.before(async () => {
    opened = await open()
  })
  test.after.always(() => opened?.close())
  const rig = (): Rig => {
    if (opened === undefined) throw new Error('the rig was not opened')
    return opened
  }
  const suites = [mapSuite, objectSuite, namespaceSuite, socketSuite, datagramSuite, unixSuite]
  for (const suite of suites) {
    for (const [name, run] of Object.entries(suite)) test.serial(name, (t) => run(t, rig()))
  }
}
