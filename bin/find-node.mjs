// Finds the Node 26 that runs Weft: the running process when it is one, otherwise the binary of the
// npm package node-linux-<arch> that came with the installation. Runs on any Node >= 20.
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

export const NODE_MAJOR = 26

/** Name of the npm package that carries Node for this processor. */
export function nodePackageName(arch = process.arch) {
  return `node-linux-${arch}`
}

/** Whether a version text such as `26.10.0` is new enough. */
export function isNewEnough(version) {
  return Number(version.split('.', 1)[0]) >= NODE_MAJOR
}

/**
 * Directory of the bundled Node package (it holds `bin/node` and the headers), or undefined when
 * it is not installed. `from` is a file URL inside the installation.
 */
export function bundledNodeDirectory(from = import.meta.url, arch = process.arch) {
  try {
    const manifest = createRequire(from).resolve(`${nodePackageName(arch)}/package.json`)
    return dirname(manifest)
  } catch {
    return undefined
  }
}

/** Path of a Node >= 26, or undefined. */
export function findNode() {
  if (isNewEnough(process.versions.node)) return process.execPath
  const directory = bundledNodeDirectory()
  if (directory === undefined) return undefined
  const binary = join(directory, 'bin', 'node')
  return existsSync(binary) ? binary : undefined
}
