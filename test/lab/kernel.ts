// What the kernel under the tests has, by its own description of itself: not by what the code under
// test found out.
import { readFileSync } from 'node:fs'

/** Whether the kernel's type information names a function or type. */
export function kernelHas(name: string): boolean {
  return readFileSync('/sys/kernel/btf/vmlinux').includes(`\0${name}\0`)
}
