// The lists that C and TypeScript both keep must be equal.
import test from 'ava'
import { LIMITS } from '../../src/model/limits.ts'
import { REASONS } from '../../src/model/reason.ts'
import { files, read } from './tree.ts'

/** `#define WEFT_<prefix>NAME number` of a header, by NAME. */
function defines(header: string, prefix = ''): Map<string, number> {
  const pattern = new RegExp(`^#define WEFT_${prefix}(\\w+)[ \\t]+(0x[\\da-fA-F]+|\\d+)\\b`, 'gm')
  return new Map([...header.matchAll(pattern)].map(([, name = '', value]) => [name, Number(value)]))
}

/** `workersMax` -> `WORKERS_MAX`, `policy-denied` -> `POLICY_DENIED`. */
function constantName(name: string): string {
  return name
    .replaceAll('-', '_')
    .replace(/[A-Z]/g, (letter) => `_${letter}`)
    .toUpperCase()
}

test('limits that the kernel side needs are equal in its header', (t) => {
  const header = defines(read('bpf/include/limits.h'))
  const source = read('src/model/limits.ts')
  for (const [name, value] of Object.entries(LIMITS)) {
    // The comment above a limit ends with "BPF." where the kernel side needs it.
    const isShared = new RegExp(`BPF\\. ?\\*/\\s+${name}:`).test(source)
    const inHeader = header.get(constantName(name))
    if (isShared || inHeader !== undefined) t.is(inHeader, value, name)
  }
  t.is(header.get('WORKERS_MAX'), LIMITS.workersMax)
})

test('reason numbers are unique, and below the counters that follow them', (t) => {
  const numbers = Object.values(REASONS).map(({ number }) => number)
  t.is(new Set(numbers).size, numbers.length)
  const abi = read('bpf/include/abi.h')
  const counters = [...defines(abi, 'COUNT_').values()]
  t.true(Math.max(...numbers) < Math.min(...counters))
})

test('reasons of the kernel side have the numbers of the catalogue', (t) => {
  const byName = new Map<string, number>(
    Object.entries(REASONS).map(([name, { number }]) => [constantName(name), number]),
  )
  const header = defines(read('bpf/include/abi.h'), 'REASON_')
  t.true(header.size > 0)
  for (const [name, number] of header) t.is(byName.get(name), number, name)
})

test('every reason is given somewhere', (t) => {
  const sources = files('src/**/*.ts').filter(({ path }) => path !== 'src/model/reason.ts')
  const code = sources.filter(({ path }) => !path.endsWith('.test.ts'))
  const bpf = files('bpf/**/*.{c,h}').filter(({ path }) => !path.endsWith('abi.h'))
  const unused = Object.keys(REASONS).filter((name) => {
    const isInCode = code.some(({ text }) => text.includes(`'${name}'`))
    const constant = new RegExp(`\\bWEFT_REASON_${constantName(name)}\\b`)
    return !isInCode && !bpf.some(({ text }) => constant.test(text))
  })
  t.deepEqual(unused, [])
})
