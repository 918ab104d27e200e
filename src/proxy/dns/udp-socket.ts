// UDP sockets as this room uses them: addresses are addresses, and nothing is looked up for them.
import { createSocket, type Socket } from 'node:dgram'

export function udpSocket(type: 'udp4' | 'udp6'): Socket {
  return createSocket({ type, lookup })
}

/** The library calls it for each datagram, with the family in place of options. */
function lookup(
  address: string,
  _family: unknown,
  answered: (error: null, address: string, family: number) => void,
): void {
  answered(null, address, address.includes(':') ? 6 : 4)
}
