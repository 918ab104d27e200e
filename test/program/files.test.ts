// Files that other programs read: the systemd units, what installs them, and the Vagrantfile.
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { openAuthority } from '../../src/identity/issue/authority.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
const SYSTEMD = join(ROOT, 'config/systemd')
const INSTALL = join(SYSTEMD, 'install.sh')

function scratch(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'weft-files-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

interface Ran {
  /** -1 when there is no such program. */
  readonly code: number
  readonly output: string
}

function run(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Ran {
  const [file = '', ...args] = argv
  const options = { cwd: ROOT, encoding: 'utf8', env: { ...process.env, ...env } } as const
  const { status, stdout, stderr } = spawnSync(file, args, options)
  return { code: status ?? -1, output: `${stdout ?? ''}${stderr ?? ''}` }
}

/** Everything installed below a directory, as a machine would have it below `/`. */
function installed(t: ExecutionContext): { root: string; units: string; names: string[] } {
  const root = scratch(t)
  const { code, output } = run([INSTALL, '--root', root])
  t.is(code, 0, output)
  const units = join(root, 'etc/systemd/system')
  return { root, units, names: readdirSync(units).sort() }
}

/** systemd says nothing at all of units that are right; elsewhere there is nobody to ask. */
function verify(units: string, names: readonly string[]): string | undefined {
  const paths = names.map((name) => join(units, name))
  const { code, output } = run(['systemd-analyze', 'verify', '--man=no', ...paths])
  return code === -1 ? undefined : output
}

test('the units are installed for this clone, and systemd accepts them', (t) => {
  const { root, units, names } = installed(t)
  t.deepEqual(names, [
    'weft-agent.slice',
    'weft-hosts.slice',
    'weft-workloads.slice',
    'weft.service',
    'weft.slice',
  ])
  for (const name of names) t.false(readFileSync(join(units, name), 'utf8').includes('/opt/weft'))
  t.is(readlinkSync(join(root, 'usr/local/bin/weft')), join(ROOT, 'bin/weft.mjs'))
  const said = verify(units, names)
  if (said === undefined) return
  t.is(said, '')
  const unit = join(units, 'weft.service')
  writeFileSync(unit, readFileSync(unit, 'utf8').replace('Restart=always', 'Restart=sometimes'))
  t.not(verify(units, names), '')
})

test('installing again keeps settings, removing keeps what is not ours', (t) => {
  const { root, units } = installed(t)
  const settings = join(root, 'etc/weft/weft.env')
  writeFileSync(settings, 'WEFT_NODE=mine\n')
  writeFileSync(join(units, 'other.service'), '')
  t.is(run([INSTALL, '--root', root]).code, 0)
  t.is(readFileSync(settings, 'utf8'), 'WEFT_NODE=mine\n')
  t.is(run([INSTALL, '--remove', '--root', root]).code, 0)
  t.deepEqual(readdirSync(units), ['other.service'])
  t.false(existsSync(join(root, 'usr/local/bin/weft')))
  t.true(existsSync(settings))
})

test('what cannot be installed is said in one sentence', (t) => {
  const root = scratch(t)
  t.like(run([INSTALL, '--rot', root]), { code: 2 })
  const bare = join(root, 'bare')
  mkdirSync(bare)
  cpSync(SYSTEMD, join(bare, 'config/systemd'), { recursive: true })
  chmodSync(join(bare, 'config/systemd/install.sh'), 0o755)
  const unready = run([join(bare, 'config/systemd/install.sh'), '--root', join(root, 'out')])
  t.is(unready.code, 1)
  t.regex(unready.output, /^install\.sh: .* is not set up: run `npm run setup` there first\n$/)
  const odd = join(root, 'a b')
  cpSync(bare, odd, { recursive: true })
  t.regex(
    run([join(odd, 'config/systemd/install.sh'), '--root', join(root, 'out')]).output,
    /systemd cannot name .* in a unit: move the clone/,
  )
  t.false(existsSync(join(root, 'out')))
})

test('the service starts the agent with options it has, before every unit of a user', (t) => {
  const unit = readFileSync(join(SYSTEMD, 'weft.service'), 'utf8').replaceAll('\\\n', '')
  const [, command = ''] = /^ExecStart=(.*)$/m.exec(unit) ?? []
  t.true(command.startsWith('/opt/weft/bin/weft.mjs agent '))
  const help = run([process.execPath, join(ROOT, 'bin/weft.mjs'), 'agent', '--help']).output
  const flags = [...command.matchAll(/ (--[a-z-]+)/g)].map(([, flag = '']) => flag)
  t.true(flags.length >= 5)
  for (const flag of flags) t.true(help.includes(`${flag} `), flag)
  t.regex(unit, /^DefaultDependencies=no$/m)
  t.regex(unit, /^Before=basic\.target shutdown\.target$/m)
  t.regex(unit, /^WantedBy=basic\.target$/m)
  const used = [...command.matchAll(/\$\{?(WEFT_\w+)/g)].map(([, name = '']) => name)
  const [, defaults = ''] = /^Environment=(.*)$/m.exec(unit) ?? []
  const settings = readFileSync(join(SYSTEMD, 'weft.env'), 'utf8')
  for (const name of used) {
    t.true(
      defaults.split(' ').some((each) => each.startsWith(`${name}=`)),
      name,
    )
    t.regex(settings, new RegExp(`^#?${name}=`, 'm'))
  }
})

test('the Vagrantfile is Ruby, and what Vagrant accepts', (t) => {
  for (const file of ['Vagrantfile', 'config/vagrant/mesh_root.rb']) {
    t.like(run(['ruby', '-c', file]), { code: 0, output: 'Syntax OK\n' }, file)
  }
  t.is(run(['sh', '-n', 'config/vagrant/provision.sh']).code, 0)
  const { code, output } = run(['vagrant', 'validate'])
  if (code !== -1) t.is(code, 0, output)
})

test('machines of the Vagrantfile are the nodes of the example, at its addresses', (t) => {
  const [, list = ''] =
    /^MACHINES = \{(.*)\}/m.exec(readFileSync(join(ROOT, 'Vagrantfile'), 'utf8')) ?? []
  const machines = [...list.matchAll(/'([^']+)' => '([^']+)'/g)].map(([, name, ip]) => [name, ip])
  const entries = ['web', 'shopper'].map((name) => {
    const text = readFileSync(join(ROOT, `config/examples/vagrant/${name}.yaml`), 'utf8')
    return [/weft\.dev\/node: (\S+)/.exec(text)?.[1], /address: (\S+)/.exec(text)?.[1]]
  })
  t.deepEqual(machines, entries)
})

test('both machines get one root, under which each agent issues', async (t) => {
  const made = join(scratch(t), 'root')
  const make = () =>
    run([
      'ruby',
      '-r',
      join(ROOT, 'config/vagrant/mesh_root.rb'),
      '-e',
      'MeshRoot.ensure(ARGV[0])',
      made,
    ])
  t.like(make(), { code: 0, output: '' })
  const root = readFileSync(join(made, 'root.crt'), 'utf8')
  t.is(make().code, 0)
  t.is(readFileSync(join(made, 'root.crt'), 'utf8'), root)
  for (const nodeName of ['one', 'two']) {
    const directory = scratch(t)
    cpSync(made, directory, { recursive: true })
    const options = { directory, nodeName, trustDomain: 'vms.example', clock: systemClock }
    const authority = await openAuthority({ ...options, log: silentLog })
    t.teardown(() => authority.close())
    const issued = await authority.issue('spiffe://vms.example/ns/shop/sa/web' as never, 60_000)
    t.deepEqual(
      issued.rootsPem.map((pem) => pem.trim()),
      [root.trim()],
    )
  }
})
