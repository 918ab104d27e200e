// Programs that ask resolvers, in the ways libraries do, and report what came back.
import { PYTHON } from '../lab/programs.ts'
import type { CommandResult, ExecOptions } from '../lab/shell.ts'
import type { DnsAnswer } from './dns-door.ts'

/** What one socket got: the answer, and where it came from as the program sees it. */
export interface Heard extends DnsAnswer {
  readonly from: readonly [ip: string, port: number]
}

const PRELUDE = `
import ctypes,errno,json,socket,struct,sys
def heard(data, source):
    return dict(json.loads(data), **{"from": list(source[:2])})
def udp(host="0.0.0.0"):
    s=socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3)
    return s
def sent(s, text, host, port=53):
    s.sendto(text.encode(), (host, port))
def got(s):
    return heard(*s.recvfrom(4096))
def sendmmsg(s, messages):
    # glibc's way to ask for A and AAAA: both in one call.
    class Iovec(ctypes.Structure): _fields_=[("base",ctypes.c_char_p),("len",ctypes.c_size_t)]
    class Msghdr(ctypes.Structure): _fields_=[("name",ctypes.c_void_p),("namelen",ctypes.c_uint32),("iov",ctypes.POINTER(Iovec)),("iovlen",ctypes.c_size_t),("control",ctypes.c_void_p),("controllen",ctypes.c_size_t),("flags",ctypes.c_int)]
    class Mmsghdr(ctypes.Structure): _fields_=[("hdr",Msghdr),("len",ctypes.c_uint)]
    array=(Mmsghdr*len(messages))()
    for at,message in enumerate(messages):
        array[at].hdr.iov=ctypes.pointer(Iovec(message,len(message))); array[at].hdr.iovlen=1
    assert ctypes.CDLL(None).sendmmsg(s.fileno(), array, len(messages), 0)==len(messages)
def tell(value):
    print(json.dumps(value))
def failing(task):
    try: task()
    except OSError as error: return errno.errorcode.get(error.errno, type(error).__name__)
    return "nothing"
`

/** Runs lines of Python there, which `tell` one value. */
export async function ask<T>(
  who: { exec(argv: readonly string[], options: ExecOptions): Promise<CommandResult> },
  lines: string,
  options: ExecOptions = {},
): Promise<T> {
  const { stdout, stderr } = await who.exec([PYTHON, '-c', `${PRELUDE}${lines}`], {
    check: false,
    ...options,
  })
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout) as T
}
