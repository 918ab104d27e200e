#!/usr/bin/env node
// The command `weft`: finds Node 26 and runs the program under it. A packed installation carries
// dist/, because Node refuses to strip types below node_modules; a clone runs src/ as it is.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { findNode, isNewEnough, nodePackageName } from './find-node.mjs'

const built = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const source = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url))

/** A clone is recognised by its sources: a stale dist/ beside them must not win. */
const main = existsSync(source) ? source : built

if (isNewEnough(process.versions.node)) {
  process.argv[1] = main
  await import(pathToFileURL(main).href)
} else {
  runUnder(findNode())
}

function runUnder(node) {
  if (node === undefined) {
    console.error(
      `weft: Node >= 26 was not found: install it, or run \`npm install ${nodePackageName()}\` ` +
        'where weft is installed.',
    )
    process.exit(1)
  }
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // A terminal has told the whole process group already.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
    })
  }
  child.on('exit', (code, signal) => {
    process.exit(signal === null ? code : 128 + constants.signals[signal])
  })
}
