// The HTTP/2 numbers of a tunnel over `node:http2`. Source: ztunnel's defaults; each was measured
// to matter (a stream is four times faster with these windows than with the protocol's defaults).
import type { ClientSessionOptions, ServerSessionOptions } from 'node:http2'
import { LIMITS } from '../../../model/limits.ts'

/** Megabytes. The default of 10 refuses streams when many slow readers wait on one session: each
 * stream may hold a whole window. */
const SESSION_MEMORY_MB = 1024

/** Requests refused for a limit are few bytes each; a client that opens and resets connections
 * quickly is not an attack here, as every workload has sessions of its own. */
const STREAM_RESETS_BURST = 100_000
const STREAM_RESETS_PER_SECOND = 10_000

export const CLIENT_OPTIONS: ClientSessionOptions = {
  maxSessionMemory: SESSION_MEMORY_MB,
  maxReservedRemoteStreams: 0,
  peerMaxConcurrentStreams: LIMITS.streamsPerSessionMax,
  settings: {
    enablePush: false,
    initialWindowSize: LIMITS.streamWindowBytes,
    maxFrameSize: LIMITS.frameBytesMax,
    maxHeaderListSize: LIMITS.clientHeaderBytesMax,
  },
}

export const SERVER_OPTIONS: ServerSessionOptions & {
  readonly streamResetBurst: number
  readonly streamResetRate: number
} = {
  maxSessionMemory: SESSION_MEMORY_MB,
  peerMaxConcurrentStreams: LIMITS.serverStreamsMax,
  streamResetBurst: STREAM_RESETS_BURST,
  streamResetRate: STREAM_RESETS_PER_SECOND,
  settings: {
    initialWindowSize: LIMITS.streamWindowBytes,
    maxFrameSize: LIMITS.frameBytesMax,
    maxConcurrentStreams: LIMITS.serverStreamsMax,
    maxHeaderListSize: LIMITS.serverHeaderBytesMax,
  },
}
