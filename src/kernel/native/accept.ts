// Accepting over the addon: decodes the shared buffer that `native/net/accept.cc` fills.
import { formatIp } from '../../base/ip.ts'
import { checkFd, checkInteger } from '../checks.ts'
import { attempt, toKernelError } from '../errno.ts'
import type { Accepted, AcceptOptions, Acceptor } from '../kernel.ts'
import type { Addon } from './addon.ts'

/** fd 4, remote port 2, local port 2, remote ip 16, local ip 16, has storage 4. */
const RECORD_BYTES = 44
const BATCH_MAX = 4096

export function nativeAccept(
  addon: Addon,
  listenerFd: number,
  options: AcceptOptions,
  onAccept: (accepted: readonly Accepted[]) => void,
): Acceptor {
  checkFd('accept', listenerFd)
  const batchMax = checkInteger('accept: batchMax', options.batchMax, 1, BATCH_MAX)
  const valueSize = options.storage?.valueSize ?? 0
  const stride = Math.ceil((RECORD_BYTES + valueSize) / 4) * 4
  const buffer = Buffer.alloc(batchMax * stride)
  const onBatch = (count: number): void => {
    const accepted: Accepted[] = []
    for (let at = 0; at < count; at++) {
      accepted.push(decode(buffer, at * stride, valueSize))
    }
    onAccept(accepted)
  }
  const onError = (error: Error): void => {
    const converted = toKernelError(error) as Error
    if (options.onError !== undefined) options.onError(converted)
    else process.emitWarning(converted)
  }
  const storageFd = options.storage?.fd
  const id = attempt(() =>
    addon.accept(listenerFd, batchMax, storageFd, valueSize, buffer, onBatch, onError),
  )
  return {
    pause: () => addon.acceptPause(id),
    resume: () => addon.acceptResume(id),
    stop: () => addon.acceptStop(id),
  }
}

function decode(buffer: Buffer, at: number, valueSize: number): Accepted {
  const valueAt = at + RECORD_BYTES
  const hasStorage = buffer.readUInt32LE(at + 40) !== 0
  return {
    fd: buffer.readInt32LE(at),
    remote: { address: formatIp(buffer, at + 8), port: buffer.readUInt16LE(at + 4) },
    local: { address: formatIp(buffer, at + 24), port: buffer.readUInt16LE(at + 6) },
    storage: hasStorage ? Buffer.from(buffer.subarray(valueAt, valueAt + valueSize)) : undefined,
  }
}
