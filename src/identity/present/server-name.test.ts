import test from 'ava'
import { serverNameOf } from './server-name.ts'

const CASES = [
  // printf %s IDENTITY | sha256sum
  ['spiffe://cluster.local/ns/shop/sa/web', 'h-05cd5197d17862832008971913f234b6.weft'],
  ['spiffe://cluster.local/ns/shop/sa/api', 'h-ff67f1e50167fc99f1e406379dc586ee.weft'],
] as const

for (const [id, name] of CASES) {
  test(`the server name of ${id}`, (t) => {
    t.is(serverNameOf(id), name)
    // One label of RFC 1035, which every TLS stack sends as it is.
    t.regex(serverNameOf(id), /^h-[0-9a-f]{32}\.weft$/)
  })
}
