// The guard on kernels without TCX (before 6.6): the same two programs as filters of `tc`.
//
// Less than links, which a pod can neither see nor remove. A pod with NET_ADMIN
// - may remove our filter or its qdisc. Nothing is stamped then, and all that the pod sends is dropped
//   at the other end, until it is enrolled again.
// - may put a filter in our place whose classid is the stamp. It has to guess 16 bits, and wrong
//   guesses are counted (`unstamped_dropped`); but while ours is there, a classifier further out
//   that matches on tc_index (ematch meta) tells which stamp it writes. So withhold NET_ADMIN from
//   workloads that are not trusted, on these kernels more than on others.
// A filter that the host's administrator puts before ours at the host's end accepts in our place.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type BpfProgram, type Kernel, KernelError, type Namespace } from '../kernel.ts'
import { inside, type PodDevice } from './network.ts'

/** Before all others, and always the same, so that the next agent's replaces it in one step. */
const PLACE = 'pref 1 handle 0x7765'
const NAMES = { egress: 'weft_guard_pod', ingress: 'weft_guard_host' } as const
type Hook = keyof typeof NAMES

export interface ClsactGuard {
  readonly namespace: Namespace
  readonly device: PodDevice
  readonly inner: BpfProgram
  readonly outer: BpfProgram
}

/** The inner end first: until it stamps, the outer end would drop everything. */
export async function attachClsact(directory: string, guard: ClsactGuard): Promise<void> {
  const { namespace, device, inner, outer } = guard
  const pins = { egress: join(directory, 'guard-pod'), ingress: join(directory, 'guard-host') }
  mkdirSync(directory, { recursive: true })
  pinAnew(inner, pins.egress)
  await inside(namespace.fd, put(device.name, 'egress', pins.egress))
  pinAnew(outer, pins.ingress)
  await inside(undefined, put(device.hostName, 'ingress', pins.ingress))
}

/** Removes the filters of a pod at both ends, also those of an agent before this one. */
export async function detachClsact(
  kernel: Kernel,
  directory: string,
  namespace: Namespace,
): Promise<void> {
  const peers = await inside(namespace.fd, CLEAR_POD)
  // The program of this very pod, where its pin tells: a pod decides which devices it shows.
  const id = pinnedProgramId(kernel, join(directory, 'guard-host')) ?? '[0-9]*'
  for (const index of peers.split('\n').filter((line) => /^\d+$/.test(line))) {
    await inside(undefined, clearHost(index, String(id)))
  }
}

/** The filter in place holds its program by itself: a name less means nothing to it. */
function pinAnew(program: BpfProgram, path: string): void {
  rmSync(path, { force: true })
  program.pin(path)
}

function pinnedProgramId(kernel: Kernel, path: string): number | undefined {
  try {
    const program = kernel.openPinnedProgram(path)
    const { id } = program
    program.close()
    return id
  } catch (error) {
    if (error instanceof KernelError) return undefined
    throw error
  }
}

function put(device: string, hook: Hook, pin: string): string[] {
  const dev = `dev ${quoted(device)}`
  return [
    `tc qdisc show ${dev} | grep -q '^qdisc clsact ' || tc qdisc add ${dev} clsact`,
    `tc filter replace ${dev} ${hook} ${PLACE} protocol all bpf da object-pinned ${quoted(pin)}`,
    `tc filter show ${dev} ${hook} | grep ' name ${NAMES[hook]} '`,
  ]
}

/** Lines that remove our filter from $dev, and the qdisc if nothing else is in it. */
function clear(hook: Hook, id: string): string[] {
  return [
    `tc filter show dev "$dev" ${hook} pref 1 | grep -q ' id ${id} name ${NAMES[hook]} ' || continue`,
    `tc filter del dev "$dev" ${hook} ${PLACE} bpf`,
    `test -n "$(tc filter show dev "$dev" egress; tc filter show dev "$dev" ingress)" ||
      tc qdisc del dev "$dev" clsact`,
  ]
}

/** Says the indexes of the other ends. */
const CLEAR_POD = [
  'tc qdisc show | sed -n "s/^qdisc clsact ffff: dev \\([^ ]*\\) .*/\\1/p" | while read -r dev; do',
  ...clear('egress', '[0-9]*'),
  'ip -o link show dev "$dev" | sed -n "s/.*@if\\([0-9]*\\):.*/\\1/p"',
  'done',
]

function clearHost(index: string, id: string): string[] {
  return [
    `ip -o link | sed -n 's/^${index}: \\([^:@]*\\)[:@].*/\\1/p' | while read -r dev; do`,
    ...clear('ingress', id),
    'done',
  ]
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
