// Nothing stays behind: after objects were unloaded, after threads ended in the middle of work.
import { once } from 'node:events'
import { readdirSync, rmSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { load, type Rig, until } from '../../src/kernel/compliance/rig.ts'
import { KernelError } from '../../src/kernel/kernel.ts'
import { execute, openNativeRig } from './rig.ts'

const LOADS = 100
const WORKERS = 50
const READERS = 20

let rig: Rig
test.before(async () => {
  rig = await openNativeRig('leaks')
})
test.after.always(() => rig?.close())

function openFds(): number {
  return readdirSync('/proc/self/fd').length
}

/** The number of descriptors once nothing of the test runner comes or goes any more. */
async function settledFds(): Promise<number> {
  let last = openFds()
  for (let same = 0; same < 20; same++) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    const now = openFds()
    if (now !== last) same = 0
    last = now
  }
  return last
}

function threads(): number {
  return readdirSync('/proc/self/task').length
}

test.serial(`${LOADS} loads and unloads leave no descriptor, map or program`, async (t) => {
  load(rig).close()
  const before = await settledFds()
  const maps: number[] = []
  const programs = new Set<number>()
  for (let at = 0; at < LOADS; at++) {
    const object = load(rig)
    for (const { id } of object.maps.values()) maps.push(id)
    for (const { id } of object.programs.values()) programs.add(id)
    const link = object.programs.get('sample_refuse4')?.attachCgroup(rig.cgroup)
    link?.close()
    object.close()
  }
  t.is(await settledFds(), before)
  t.is(maps.length, LOADS * 7)
  // The kernel frees in its own time.
  await until(() => !maps.some(mapExists))
  await until(() => !programIds().some((id) => programs.has(id)))
  t.pass()
})

test.serial('a refused object leaves nothing', async (t) => {
  const refused = (): void => {
    const error = t.throws(() => rig.kernel.loadObject({ bytes: rig.refused, name: 'refused' }))
    t.true(error instanceof KernelError)
  }
  refused()
  const before = await settledFds()
  for (let at = 0; at < 20; at++) refused()
  t.is(await settledFds(), before)
})

test.serial('failed connections leave no descriptor', async (t) => {
  const namespace = await rig.kernel.openNamespace(rig.namespace)
  const before = await settledFds()
  const signal = AbortSignal.timeout(30)
  const target = { address: rig.blackhole, port: 80, timeoutMs: 5000, signal }
  const failures = Array.from({ length: 50 }, () => rig.kernel.connect(target, namespace.fd))
  const results = await Promise.allSettled(failures)
  t.true(results.every(({ status }) => status === 'rejected'))
  const closed = { address: '127.0.0.1', port: 1, timeoutMs: 5000 }
  await Promise.allSettled(Array.from({ length: 50 }, () => rig.kernel.connect(closed)))
  t.is(await settledFds(), before)
  namespace.close()
})

test.serial(`${WORKERS} threads ended in the middle of work leave nothing`, async (t) => {
  t.timeout(110_000)
  const namespace = await rig.kernel.openNamespace(rig.namespace)
  const address = { address: '127.0.0.1', port: 0 }
  const listener = await rig.kernel.listen(address, namespace.fd)
  await startAndEnd(rig, listener, 0)
  const [fdsBefore, threadsBefore] = [await settledFds(), threads()]
  for (let at = 0; at < WORKERS; at += 2) {
    // At different moments of their work, two at a time.
    await Promise.all([startAndEnd(rig, listener, at), startAndEnd(rig, listener, at + 1)])
  }
  await until(() => threads() <= threadsBefore)
  t.is(await settledFds(), fdsBefore)
  rig.kernel.closeFd(listener.fd)
  namespace.close()
})

async function startAndEnd(
  { sample, namespace, blackhole, scratch }: Rig,
  listener: { readonly fd: number; readonly local: { readonly port: number } },
  at: number,
): Promise<void> {
  const unixPath = `${scratch}/worker-${at}`
  const worker = new Worker(new URL('./busy-worker.ts', import.meta.url), {
    workerData: {
      sample,
      namespace,
      blackhole,
      unixPath,
      listenerFd: listener.fd,
      port: listener.local.port,
    },
  })
  await once(worker, 'message')
  await new Promise((resolve) => setTimeout(resolve, at % 10))
  await worker.terminate()
  rmSync(unixPath, { force: true })
}

test.serial('a thread terminated while the addon reads a list ends alone', async (t) => {
  for (let at = 0; at < READERS; at++) {
    const unixPath = `${rig.scratch}/list-${at}`
    const worker = new Worker(new URL('./list-worker.ts', import.meta.url), {
      workerData: { unixPath },
    })
    await once(worker, 'message')
    await new Promise((resolve) => setTimeout(resolve, at % 10))
    await worker.terminate()
    rmSync(unixPath, { force: true })
  }
  t.pass() // otherwise the whole process would have been aborted
})

function mapExists(id: number): boolean {
  try {
    rig.kernel.openMapById(id).close()
    return true
  } catch (error) {
    if (error instanceof KernelError && error.errnoName === 'ENOENT') return false
    throw error
  }
}

function programIds(): number[] {
  const listed = execute('bpftool', ['-j', 'prog', 'show'])
  return (JSON.parse(listed) as { id: number }[]).map(({ id }) => id)
}
