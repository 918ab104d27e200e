// The real kernel, prepared for the compliance suite: compiled sample objects, a namespace with a
// dummy device, a cgroup and a pin directory, all removed at the end.
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
} from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { member, type Rig, V4, V6 } from '../../src/kernel/compliance/rig.ts'
import { nativeKernel } from '../../src/kernel/native.ts'
import { kernelHas } from '../lab/kernel.ts'

const BLACKHOLE = '10.77.0.99'
const SOURCES = fileURLToPath(new URL('./bpf/', import.meta.url))

/** Two of them in a process need different names. */
export async function openNativeRig(name: string): Promise<Rig> {
  const kernel = nativeKernel()
  const label = `weft-${name}-${process.pid}`
  const root = mkdtempSync(join(tmpdir(), `${label}-`))
  const pins = `/sys/fs/bpf/${label}`
  const cgroup = join(cgroupRoot(), label)
  const scratch = join(root, 'scratch')
  const close = (): void => {
    for (const pin of existsSync(pins) ? readdirSync(pins) : []) rmSync(join(pins, pin))
    for (const directory of [pins, cgroup]) if (existsSync(directory)) rmdirSync(directory)
    if (existsSync(`/run/netns/${label}`)) ip('netns', 'del', label)
    rmSync(root, { recursive: true, force: true })
  }
  const objects = new Map<string, Buffer>()
  try {
    for (const directory of [pins, cgroup, scratch]) mkdirSync(directory)
    addNamespace(label)
    for (const name of ['sample', 'refused']) objects.set(name, compile(name, root))
  } catch (error) {
    close()
    throw error
  }
  return {
    kernel,
    sample: member(objects, 'sample'),
    refused: member(objects, 'refused'),
    pins,
    scratch,
    cgroup,
    namespace: `/run/netns/${label}`,
    hasTcx: kernelHas('tcx_link_attach'),
    blackhole: BLACKHOLE,
    adopt: (fd) => new net.Socket({ fd, allowHalfOpen: true, readable: true, writable: true }),
    emit(object, length) {
      member(object.programs, 'sample_tc').testRun({ data: Buffer.alloc(length) })
    },
    close: async () => close(),
  }
}

/** The ELF bytes of `test/kernel/bpf/NAME.bpf.c`. */
export function compile(name: string, directory: string): Buffer {
  // Where there is no compiler it comes along (scripts/kernel-image.mjs).
  const built = join(SOURCES, 'out', `${name}.bpf.o`)
  if (existsSync(built)) return readFileSync(built)
  const out = join(directory, `${name}.bpf.o`)
  const include = `/usr/include/${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu`
  const source = join(SOURCES, `${name}.bpf.c`)
  execute('clang', ['-g', '-O2', '-target', 'bpf', '-I', include, '-c', source, '-o', out])
  return readFileSync(out)
}

/** Where cgroup v2 is mounted: alone, or beside v1. */
export function cgroupRoot(): string {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n')
  const root = mounts.map((line) => line.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1]
  if (root === undefined) throw new Error('no cgroup v2 is mounted: these tests need one')
  return root
}

function addNamespace(label: string): void {
  ip('netns', 'add', label)
  const inside = (...args: string[]): void => ip('-n', label, ...args)
  inside('link', 'set', 'lo', 'up')
  inside('link', 'add', 'weft0', 'type', 'veth', 'peer', 'name', 'weft1')
  for (const device of ['weft0', 'weft1']) inside('link', 'set', device, 'up')
  inside('addr', 'add', `${V4}/24`, 'dev', 'weft0')
  inside('addr', 'add', `${V6}/64`, 'dev', 'weft0', 'nodad')
  // Frames to a neighbour that is not there are lost: no SYN is ever answered.
  const nobody = ['lladdr', '02:00:00:00:00:99', 'nud', 'permanent']
  inside('neigh', 'add', BLACKHOLE, ...nobody, 'dev', 'weft0')
}

function ip(...args: string[]): void {
  execute('ip', args)
}

/** What a program prints. A sanitizer preloaded into this process is not for it. */
export function execute(program: string, args: readonly string[]): string {
  const { LD_PRELOAD: _, ...env } = process.env
  return execFileSync(program, args, { env, encoding: 'utf8', maxBuffer: 1 << 26 })
}
