// Command lines of the small test programs in programs/: unmodified programs that know nothing of
// the mesh, in two languages.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The system's own, because a version manager's wrapper in PATH is slow to start. */
export const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3'

function file(name: string): string {
  return fileURLToPath(new URL(`programs/${name}`, import.meta.url))
}

/** What a server says once it accepts; for `waitFor`. */
export const LISTENING = 'listening'

export interface ServerOptions {
  /** Default `::`, which takes IPv4 as well. */
  readonly host?: string
  /** `identity`: the name it answers with. */
  readonly name?: string
  /** `banner`: what it says first. */
  readonly banner?: string
  /** `sink`: bytes per second it reads at most; 0 reads nothing until told `go` on stdin. */
  readonly rate?: number
}

/**
 * A TCP server. `echo` answers what it is sent and half-closes after the client did; `banner` speaks
 * first and then echoes; `early` speaks first, half-closes and then tells `got BYTES`; `reset` reads
 * a byte and closes with RST; `sink` swallows all and then answers `BYTES SHA256\n`; `source` answers
 * `BYTES\n` with that many bytes; `identity` answers each connection at once with one line of JSON:
 * name, local and remote address.
 */
export function server(
  mode: 'echo' | 'banner' | 'early' | 'reset' | 'sink' | 'source' | 'identity',
  port: number,
  options: ServerOptions = {},
): string[] {
  const argv = [PYTHON, '-u', file('server.py'), mode, String(port)]
  if (options.host !== undefined) argv.push('--host', options.host)
  if (options.name !== undefined) argv.push('--name', options.name)
  if (options.banner !== undefined) argv.push('--banner', options.banner)
  if (options.rate !== undefined) argv.push('--rate', String(options.rate))
  return argv
}

/**
 * Opens and closes listeners as told on standard input, each of which answers as an `identity`
 * server: `open KEY HOST PORT [reuseport] [v6only]` and `close KEY`. Says `ready`, and then
 * `done COMMAND KEY` or `failed COMMAND KEY ERRNO`.
 */
export function listeners(name: string): string[] {
  return [PYTHON, '-u', file('listeners.py'), name]
}

/** The same echo server in Node. */
export function nodeEcho(port: number, host = '::'): string[] {
  return [process.execPath, file('echo.mjs'), String(port), host]
}

export interface ClientOptions {
  readonly bytes?: number
  /** Source address to bind to. */
  readonly bind?: string
  readonly bindPort?: number
  readonly device?: string
  readonly timeoutSeconds?: number
  readonly message?: string
}

type ClientMode =
  | 'echo'
  | 'half-close'
  | 'nonblocking'
  | 'banner'
  | 'late'
  | 'send'
  | 'fetch'
  | 'reset'
  | 'connect'

/**
 * A TCP client that reports one line of JSON with `ok`. `echo` sends a message and wants it back;
 * `half-close` sends, shuts its side and reads to the end; `nonblocking` the same with a connect
 * that does not wait; `banner` reads first; `late` reads to the end and then sends; `send` sends
 * bytes to a `sink` and compares checksums; `fetch` the other way round from a `source`; `reset`
 * sends and closes with RST; `connect` only connects and tells the error's name and how long it
 * took.
 */
export function client(
  mode: ClientMode,
  host: string,
  port: number,
  options: ClientOptions = {},
): string[] {
  const argv = [PYTHON, '-u', file('client.py'), mode, host, String(port)]
  if (options.bytes !== undefined) argv.push('--bytes', String(options.bytes))
  if (options.bind !== undefined) argv.push('--bind', options.bind)
  if (options.bindPort !== undefined) argv.push('--bind-port', String(options.bindPort))
  if (options.device !== undefined) argv.push('--device', options.device)
  if (options.timeoutSeconds !== undefined) argv.push('--timeout', String(options.timeoutSeconds))
  if (options.message !== undefined) argv.push('--message', options.message)
  return argv
}

/**
 * Sends to a `sink` as much as it takes, at most `bytes`, without ever waiting in a send: says
 * `blocked BYTES` whenever nothing could be sent for half a second, and stops at a line on standard
 * input; then compares checksums and reports `bytes`.
 */
export function push(host: string, port: number, bytes: number): string[] {
  return [PYTHON, '-u', file('client.py'), 'push', host, String(port), '--bytes', String(bytes)]
}

/** A destination and the name that its `identity` server answers with. */
export interface Destination {
  readonly host: string
  readonly port: number
  readonly name: string
}

export interface ManyReport {
  readonly ok: number
  /** Connections that another destination answered. */
  readonly wrong: number
  readonly failed: number
  readonly errors: Readonly<Record<string, number>>
  readonly perDestination: Readonly<Record<string, number>>
}

/** `total` connections from `clients` at once, each checked for who answered; reports ManyReport. */
export function connectMany(
  destinations: readonly Destination[],
  total: number,
  clients: number,
): string[] {
  const targets = destinations.map(({ host, port, name }) => `${name}=${host}|${port}`)
  return [process.execPath, file('connect-many.mjs'), String(total), String(clients), ...targets]
}

/**
 * Holds `count` connections to an echo server. Says `held N`; for each line on its standard input,
 * sends on every connection, checks the answers and reports `{"ok":N,"failed":M}`.
 */
export function hold(host: string, port: number, count: number): string[] {
  return [process.execPath, file('hold.mjs'), host, String(port), String(count)]
}

/** A UDP echo server. */
export function udpEcho(port: number, host = '::'): string[] {
  return [PYTHON, '-u', file('udp.py'), 'serve', host, String(port)]
}

/** Sends one datagram and reports what came back, and from where. */
export function udpSend(host: string, port: number, message: string, connected = false): string[] {
  const argv = [PYTHON, '-u', file('udp.py'), 'send', host, String(port), '--message', message]
  return connected ? [...argv, '--connected'] : argv
}

/**
 * Sends packets past the TCP stack: `ip` raw protocol 253, `syn` a forged TCP SYN, `packet` a whole
 * frame by AF_PACKET, `packet-bypass` the same with PACKET_QDISC_BYPASS. Each carries `mark`.
 * Reports `ok` (the kernel took it) or the error's name.
 */
export function rawSend(
  mode: 'ip' | 'syn' | 'packet' | 'packet-bypass',
  options: {
    readonly source: string
    readonly destination: string
    readonly port?: number
    readonly mark: string
    readonly device?: string
    /** Next hop; needed by the AF_PACKET modes. */
    readonly mac?: string
    readonly count?: number
  },
): string[] {
  const argv = [PYTHON, '-u', file('raw.py'), mode, options.source, options.destination]
  argv.push('--mark', options.mark, '--port', String(options.port ?? 7))
  argv.push('--device', options.device ?? 'eth0', '--count', String(options.count ?? 1))
  return options.mac === undefined ? argv : [...argv, '--mac', options.mac]
}

/**
 * Makes a worker thread throw, by its name, in a Node process of the same namespace whose inspector
 * is open.
 */
export function crashWorker(inspectorPort: number, name: string): string[] {
  return [process.execPath, file('crash-worker.mjs'), String(inspectorPort), name]
}

/** What a service manager does at NOTIFY_SOCKET: says `bound`, then each message on a line. */
export function notifyReceiver(address: string): string[] {
  return [PYTHON, '-u', file('notify.py'), address]
}

/**
 * Asks for names and reports JSON. `ask RESOLVER NAME/TYPE...` by a socket for each; `all-at-once
 * RESOLVER,... NAME...` both types of every resolver by one socket; `many COUNT RESOLVER,... NAME...`
 * that many sockets, each of every resolver; `flood RESOLVER COUNT RATE NAME...`; `garbage RESOLVER
 * COUNT` what is no question; `silent ADDRESS...` is a resolver that says nothing.
 */
export function names(
  mode: 'ask' | 'all-at-once' | 'many' | 'flood' | 'garbage' | 'silent',
  ...rest: readonly (string | number)[]
): string[] {
  return [PYTHON, '-u', file('names.py'), mode, ...rest.map(String)]
}
