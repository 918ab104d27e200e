// Small arithmetic on sizes that the kernel's formats share.

/** Values of per-CPU maps are padded to 8 bytes. */
export function roundUp8(size: number): number {
  return Math.ceil(size / 8) * 8
}
