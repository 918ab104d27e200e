import test from 'ava'
import { until } from '../testing/conditions.ts'
import { question } from '../testing/dns.ts'
import { testKernel } from '../testing/kernel.ts'
import { type Query, readQuery } from './query.ts'
import { ResolverSocket, type ResolverSocketParts } from './resolver-socket.ts'

const kernel = testKernel()

function query(): Query {
  const read = readQuery(question('x.example'))
  if (read.kind !== 'query') throw new Error(read.kind)
  return read.query
}

function socket(bindUdp: ResolverSocketParts['kernel']['bindUdp'], ip = '127.0.0.1') {
  const closed: number[] = []
  const closeFd = (fd: number): void => {
    closed.push(fd)
    kernel.closeFd(fd)
  }
  const parts = { kernel: { bindUdp, closeFd }, newId: () => 7, onStray: () => {} }
  const made = new ResolverSocket(parts, { ip, port: 53 })
  let refused = 0
  const ask = (): void => {
    made.ask({ query: query(), answered: () => {}, refused: () => void refused++ })
  }
  return { made, closed, ask, refused: () => refused }
}

test('where no socket can be made, who asks is told at once, then and later', async (t) => {
  const { made, ask, refused } = socket(() => Promise.reject(new Error('no such namespace')))
  ask()
  await made.open(3)
  t.is(refused(), 1)
  ask()
  t.is(refused(), 2)
  t.is(made.size, 0)
  made.close()
})

test('a descriptor that is no socket is closed, and nothing is sent from elsewhere', async (t) => {
  const { fd } = await kernel.listen({ address: '127.0.0.1', port: 0 })
  const { made, ask, refused, closed } = socket(async () => ({
    fd,
    local: { address: '0.0.0.0', port: 1 },
  }))
  ask()
  await made.open(3)
  t.is(refused(), 1)
  t.deepEqual(closed, [fd])
  made.close()
})

test('an address that cannot be connected to', async (t) => {
  const { made, ask, refused } = socket((spec) => kernel.bindUdp(spec), '255.255.255.255')
  ask()
  await made.open(3)
  await until('the refusal', () => refused() === 1)
  ask()
  t.is(refused(), 2)
  made.close()
})

test('closed while it was being made, it leaves nothing', async (t) => {
  const { made, ask, refused, closed } = socket((spec) => kernel.bindUdp(spec))
  ask()
  const opened = made.open(3)
  made.close()
  await opened
  t.is(closed.length, 1)
  t.is(refused(), 0)
  made.close()
})

test('every ID is used once at a time', (t) => {
  const { made, ask } = socket(() => new Promise(() => {}))
  for (let n = 0; n < 300; n++) ask()
  t.is(made.size, 300)
  made.close()
})
