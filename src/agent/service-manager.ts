// Tells the service manager how the agent is, when one asks by NOTIFY_SOCKET. Through the command
// `systemd-notify`, because Node has no datagram sockets of the Unix kind; it is where systemd is,
// waits until the message was taken, and knows abstract addresses.
// Source: sd_notify(3), systemd-notify(1).
import { execFile } from 'node:child_process'
import type { Log } from '../base/log.ts'
import { errorText } from '../base/mesh-error.ts'
import { Serial } from '../base/serial.ts'

export interface ServiceManager {
  /** Everything that was configured is in force: units that wait for the agent may start. */
  ready(): Promise<void>
  /** A reload has begun; its end is `ready`. */
  reloading(): Promise<void>
  stopping(): Promise<void>
  /** One line for `systemctl status`; of lines that come fast only the last is told. */
  status(line: string): Promise<void>
}

export interface ServiceManagerParts {
  readonly log: Log
  /** Resolves when the service manager has taken these assignments; rejects with the reason. */
  readonly notify: (assignments: readonly string[]) => Promise<void>
}

const TIMEOUT_MS = 10_000

/** Does nothing unless the environment names a socket. */
export function serviceManager(log: Log, env: NodeJS.ProcessEnv = process.env): ServiceManager {
  const socket = env.NOTIFY_SOCKET
  return socket === undefined || socket === ''
    ? silentManager
    : tellingManager({ log, notify: (assignments) => systemdNotify(socket, assignments) })
}

export const silentManager: ServiceManager = {
  ready: () => Promise.resolve(),
  reloading: () => Promise.resolve(),
  stopping: () => Promise.resolve(),
  status: () => Promise.resolve(),
}

/** One message after another. What fails is logged once: nothing of the mesh depends on it. */
export function tellingManager({ log, notify }: ServiceManagerParts): ServiceManager {
  const serial = new Serial()
  let failed = false
  let line = ''
  let told = ''
  const tell = (assignments: () => readonly string[]): Promise<void> =>
    serial.run(async () => {
      const wanted = assignments()
      if (wanted.length === 0) return
      try {
        await notify(wanted)
      } catch (error) {
        if (!failed) log.warn('service-manager.untold', { error: errorText(error) })
        failed = true
      }
    })
  return {
    ready: () => tell(() => ['READY=1']),
    reloading: () => tell(() => ['RELOADING=1']),
    stopping: () => tell(() => ['STOPPING=1', 'STATUS=stopping']),
    status: (text) => {
      line = text
      return tell(() => {
        if (line === told) return []
        told = line
        return [`STATUS=${line.replaceAll('\n', ' ')}`]
      })
    },
  }
}

function systemdNotify(socket: string, assignments: readonly string[]): Promise<void> {
  const env = { PATH: process.env.PATH, NOTIFY_SOCKET: socket }
  return new Promise((resolve, reject) => {
    execFile('systemd-notify', assignments, { env, timeout: TIMEOUT_MS }, (error, _, stderr) => {
      if (error === null) resolve()
      else reject(new Error(`systemd-notify failed: ${stderr.trim() || errorText(error)}`))
    })
  })
}
