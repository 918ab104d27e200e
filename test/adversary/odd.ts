// Runs the clients and listeners that do what libraries seldom do; see programs/odd.py.
import { fileURLToPath } from 'node:url'
import { PYTHON } from '../lab/programs.ts'
import type { ExecOptions } from '../lab/shell.ts'
import type { Report } from '../mesh/mesh.ts'

const ODD = fileURLToPath(new URL('programs/odd.py', import.meta.url))

/**
 * TCP clients, which report what they were told first: `mptcp HOST PORT`, `fastopen HOST PORT`,
 * `mapped IPV4 PORT`, `device HOST PORT DEVICE`, `again HOST PORT HOST PORT` connects, lets go and
 * connects elsewhere, `passed HOST PORT CGROUP` by a socket that was made in another cgroup.
 * `listen-many COUNT` opens that many listeners. `dns-at HOST NAME PORT...` tells which ports answer
 * questions, `dns-pipeline RESOLVER STREAMS BYTES NAME` asks by TCP and reads nothing, `dns-flood
 * RESOLVER SECONDS NAME...` asks from thousands of ports, `dns-ways RESOLVER NAME` by sockets of
 * every kind, `squat-udp FIRST LAST` leaves no port free.
 */
export function odd(mode: string, ...rest: readonly (string | number)[]): string[] {
  return [PYTHON, '-u', ODD, mode, ...rest.map(String)]
}

/** Runs one to its end. */
export async function oddly<T = Report>(
  from: { exec(argv: readonly string[], options?: ExecOptions): Promise<{ stdout: string }> },
  mode: string,
  ...rest: readonly (string | number)[]
): Promise<T> {
  const { stdout } = await from.exec(odd(mode, ...rest), { timeoutMs: 20_000 })
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as T
}
