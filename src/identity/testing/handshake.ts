// One TLS handshake over loopback, for the tests of this room.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { type ConnectionOptions, connect, type SecureContext } from 'node:tls'
import {
  type Accepted,
  acceptClient,
  type Presentation,
  type Shown,
} from '../present/accept-client.ts'
import { CertificateReader } from '../present/certificate-facts.ts'
import { ALPN_PROTOCOLS, clientTlsOptions } from '../present/tls-options.ts'

export interface Met {
  readonly accepted: Accepted<Shown>
  /** 'echoed', or the error of the client. */
  readonly client: string
  readonly group: string
  readonly servername: unknown
  readonly session: Buffer | undefined
  readonly resumed: boolean
}

/** One handshake over loopback, one byte there and back, and what each end made of it. */
export function meet(
  server: { readonly context: SecureContext },
  options: ConnectionOptions,
): Promise<Met> {
  return meetAt(only(server), options)
}

/** Presents itself as one identity of our trust domain. */
export function only({ context }: { readonly context: SecureContext }): Presentation<Shown> {
  const id = 'spiffe://cluster.local/ns/default/sa/default'
  return { kind: 'one', identity: { id, context } }
}

/** The same with a server that has several. */
export async function meetAt(
  presentation: Presentation<Shown>,
  options: ConnectionOptions,
): Promise<Met> {
  const parts = {
    presentation,
    nowMs: Date.now(),
    reader: new CertificateReader(),
    timeoutMs: 5000,
  }
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const incoming = once(listener, 'connection').then(([raw]: Socket[]) =>
    acceptClient(raw as Socket, parts),
  )
  const { port } = listener.address() as AddressInfo
  const client = connect({ host: '127.0.0.1', port, ...options })
  let session: Buffer | undefined
  client.on('session', (ticket) => {
    session = ticket
  })
  const outcome = new Promise<string>((resolve) => {
    client.on('data', () => resolve('echoed'))
    client.on('error', (error) => resolve(error.message))
    client.on('close', () => resolve('closed'))
  })
  client.on('secureConnect', () => client.write('x'))
  const accepted = await incoming
  const socket = accepted.kind === 'accepted' ? accepted.socket : undefined
  socket?.on('error', () => {}).on('data', (byte) => socket.write(byte))
  const said = await outcome
  const group = client.getEphemeralKeyInfo()
  const met = {
    accepted,
    client: said,
    group: group !== null && 'name' in group ? String(group.name) : '',
    servername: socket?.servername,
    session,
    resumed: client.isSessionReused() || (socket?.isSessionReused() ?? false),
  }
  client.destroy()
  socket?.destroy()
  listener.close()
  await once(listener, 'close')
  return met
}

export const towards = (
  identity: { readonly context: SecureContext },
  expected: readonly string[],
): ConnectionOptions => clientTlsOptions(identity, { expected, nowMs: Date.now })

/** A client that trusts anybody and checks nothing, so that only the server can refuse. */
export const careless = (context: SecureContext): ConnectionOptions => ({
  secureContext: context,
  ALPNProtocols: [...ALPN_PROTOCOLS],
  rejectUnauthorized: false,
})
