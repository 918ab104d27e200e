// What a service port carries, as its author declared it: by appProtocol, else by the prefix of
// the port's name. Source: Istio "Protocol Selection".
import type { PortProtocol } from '../model/service.ts'

const BY_WORD: Readonly<Record<string, PortProtocol>> = {
  http: 'http',
  http2: 'http2',
  h2c: 'http2',
  'kubernetes.io/h2c': 'http2',
  'kubernetes.io/ws': 'http',
  'kubernetes.io/wss': 'tls',
  grpc: 'grpc',
  'grpc-web': 'http',
  https: 'tls',
  tls: 'tls',
  tcp: 'tcp',
  mongo: 'tcp',
  mysql: 'tcp',
  redis: 'tcp',
  udp: 'udp',
}

/** `undeclared` when neither the protocol nor the name's prefix says. */
export function declaredProtocol(
  transport: 'TCP' | 'UDP',
  appProtocol: string | undefined,
  name: string,
): PortProtocol {
  if (transport === 'UDP') return 'udp'
  const word = appProtocol?.toLowerCase()
  const byWord = word === undefined ? undefined : BY_WORD[word]
  if (byWord !== undefined && byWord !== 'udp') return byWord
  const lower = name.toLowerCase()
  if (lower.startsWith('grpc-web')) return 'http'
  const byName = BY_WORD[lower.split('-')[0] ?? '']
  return byName === undefined || byName === 'udp' ? 'undeclared' : byName
}

/** The protocol of a ServiceEntry port, which is written as a word. */
export function serviceEntryProtocol(word: string | undefined, name: string): PortProtocol {
  return word?.toUpperCase() === 'UDP' ? 'udp' : declaredProtocol('TCP', word, name)
}
