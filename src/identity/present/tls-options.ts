// The one way Weft speaks TLS between nodes: version, suites, key exchange, protocol. Whoever opens
// or accepts a tunnel passes these options to `tls.connect` or `new tls.TLSSocket`.
import { constants } from 'node:crypto'
import type {
  ConnectionOptions,
  SecureContext,
  SecureContextOptions,
  TLSSocketOptions,
} from 'node:tls'
import { type ServerCheck, serverIdentityCheck } from './authenticate.ts'

/** Source: Istio ambient, ztunnel `tls/lib.rs`. */
export const CIPHER_SUITES = 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'

/**
 * In order of preference; the first gets the client's key share. An explicit list makes a handshake
 * a quarter cheaper than OpenSSL's default. P-256 is for peers that know nothing newer.
 */
export const KEY_EXCHANGE_GROUPS = 'X25519MLKEM768:X25519:P-256'

export const ALPN_PROTOCOLS: readonly string[] = ['h2']

/**
 * For `createSecureContext`: version, suites, groups and resumption belong to the context, so that
 * a socket made from it cannot be given weaker ones. One context serves both ends.
 */
export function contextOptions(material: {
  readonly certificateChainPem: string
  readonly keyPem: Buffer
  readonly rootsPem: readonly string[]
}): SecureContextOptions {
  return {
    ...anonymousOptions(),
    cert: material.certificateChainPem,
    key: material.keyPem,
    // Never empty: without `ca` OpenSSL would trust the public authorities of the web.
    ca: [...material.rootsPem],
  }
}

/** The same without certificate and roots: for servers that show one only when they are asked. */
export function anonymousOptions(): SecureContextOptions {
  return {
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ciphers: CIPHER_SUITES,
    ecdhCurve: KEY_EXCHANGE_GROUPS,
    honorCipherOrder: true,
    // A resumed session would skip the check of the peer's certificate.
    secureOptions: constants.SSL_OP_NO_TICKET,
  }
}

/**
 * For `tls.connect`, beside `socket` or an address. The peer's identity is checked before
 * 'secureConnect'; on failure the socket ends with a `PeerRefused` or OpenSSL's error. SNI is sent
 * only where a `serverName` is given. In TLS 1.3 a client learns only after 'secureConnect' that the
 * server refused it.
 */
export function clientTlsOptions(
  identity: { readonly context: SecureContext },
  check: ServerCheck,
  serverName?: string,
): ConnectionOptions {
  return {
    ...(serverName === undefined ? {} : { servername: serverName }),
    secureContext: identity.context,
    ALPNProtocols: [...ALPN_PROTOCOLS],
    rejectUnauthorized: true,
    checkServerIdentity: serverIdentityCheck(check),
  }
}

/**
 * For `new tls.TLSSocket`. The handshake itself refuses nobody, not even a client without a
 * certificate: `authenticateClient` must be asked on 'secure', and its answer obeyed, before a byte
 * is read. So the reason is known and can be logged. `acceptClient` does all of it.
 */
export function serverTlsOptions(identity: { readonly context: SecureContext }): TLSSocketOptions {
  return {
    isServer: true,
    secureContext: identity.context,
    ALPNProtocols: [...ALPN_PROTOCOLS],
    requestCert: true,
    rejectUnauthorized: false,
  }
}
