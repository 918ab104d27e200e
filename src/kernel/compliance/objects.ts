// Compliance: loading objects, attaching programs, links, the ring buffer, iterators, layouts.
import { existsSync } from 'node:fs'
import type { BpfLink, BpfProgram } from '../kernel.ts'
import { load, member, NO_FD, rejectsErrno, type Suite, throwsErrno, u32, until } from './rig.ts'

export const objectSuite: Suite = {
  'only the chosen programs of an object are loaded'(t, rig) {
    const all = load(rig)
    t.deepEqual([...all.programs.keys()].sort(), [
      'sample_connect4',
      'sample_iter',
      'sample_lookup',
      'sample_refuse4',
      'sample_sockops',
      'sample_tc',
    ])
    t.true([...all.programs.values()].every(({ verifiedInstructions: count }) => count > 0))
    all.close()
    const one = load(rig, { programs: ['sample_tc'] })
    t.deepEqual([...one.programs.keys()], ['sample_tc'])
    one.close()
  },

  'what an object does not have, or what does not fit it, is refused by name'(t, rig) {
    const { kernel, refused } = rig
    const spare = kernel.createMap({
      name: 'ct_spare',
      type: 'hash',
      keySize: 8,
      valueSize: 8,
      maxEntries: 4,
    })
    const cases: readonly [string, RegExp, Parameters<typeof load>[1]][] = [
      ['ENOENT', /constant nothing/, { constants: { nothing: u32(1) } }],
      [
        'EINVAL',
        /sample_redirect_port of 4 bytes to 8/,
        { constants: { sample_redirect_port: u32(1, 2) } },
      ],
      ['ENOENT', /program nothing/, { programs: ['nothing'] }],
      ['ENOENT', /map nothing/, { maxEntries: { nothing: 1 } }],
      ['ENOENT', /map nothing/, { pins: { nothing: '/nowhere' } }],
      ['ENOENT', /map nothing/, { reuse: { nothing: spare } }],
      ['EINVAL', /map sample_hash/, { reuse: { sample_hash: spare } }],
      ['EINVAL', /open object/, { bytes: Buffer.from('no object') }],
      ['EINVAL', /open object/, { bytes: Buffer.alloc(0) }],
    ]
    for (const [errno, operation, options] of cases) {
      throwsErrno(t, errno, () => load(rig, options ?? {}), operation)
    }
    spare.close()
    t.notThrows(() => {
      const name = 'refused'
      kernel.loadObject({ bytes: refused, name, programs: ['refused_fine'] }).close()
    })
  },

  'a refused program is named and comes with the verifier log'(t, rig) {
    const { kernel, refused } = rig
    const error = throwsErrno(
      t,
      'EACCES',
      () => kernel.loadObject({ bytes: refused, name: 'refused' }),
      /BPF_PROG_LOAD.*refused_unchecked/,
    )
    t.regex(error?.verifierLog ?? '', /invalid mem access/)
    t.true(error?.message.includes('invalid mem access'))
  },

  'pinned maps are made once and found again'(t, rig) {
    const path = `${rig.pins}/hash`
    const first = load(rig, { pins: { sample_hash: path }, maxEntries: { sample_hash: 9 } })
    t.true(existsSync(path))
    member(first.maps, 'sample_hash').update(u32(7), u32(1, 2, 3, 4))
    const { id } = member(first.maps, 'sample_hash')
    first.close()
    const second = load(rig, { pins: { sample_hash: path }, maxEntries: { sample_hash: 9 } })
    const again = member(second.maps, 'sample_hash')
    t.is(again.id, id)
    t.is(again.maxEntries, 9)
    t.deepEqual(again.lookup(u32(7)), u32(1, 2, 3, 4))
    // Of another shape it is neither used nor replaced.
    throwsErrno(t, 'EINVAL', () => load(rig, { pins: { sample_hash: path } }))
    const third = load(rig, { reuse: { sample_hash: again } })
    t.is(member(third.maps, 'sample_hash').id, id)
    third.close()
    second.close()
  },

  'programs attach to cgroups as links that can be updated, pinned and detached'(t, rig) {
    const { kernel, cgroup, pins, scratch } = rig
    const object = load(rig)
    const connect4 = member(object.programs, 'sample_connect4')
    throwsErrno(t, 'ENOENT', () => connect4.attachCgroup(`${scratch}/none`), /open .*none/)
    throwsErrno(t, 'EBADF', () => connect4.attachCgroup(scratch), /BPF_LINK_CREATE/)
    throwsErrno(t, 'EINVAL', () => member(object.programs, 'sample_lookup').attachCgroup(cgroup))

    const link = connect4.attachCgroup(cgroup)
    t.like(link.info(), { type: 'cgroup', programId: connect4.id })
    t.true((link.info().cgroupId ?? 0n) > 0n)
    link.update(member(object.programs, 'sample_refuse4'))
    t.is(link.info().programId, member(object.programs, 'sample_refuse4').id)
    throwsErrno(t, 'EINVAL', () => link.update(member(object.programs, 'sample_sockops')))

    link.pin(`${pins}/link`)
    throwsErrno(t, 'EEXIST', () => link.pin(`${pins}/link`))
    const { id } = link.info()
    link.close()
    link.close()
    throwsErrno(t, 'EBADF', () => link.info())
    const again = kernel.openPinnedLink(`${pins}/link`)
    t.is(again.info().id, id)
    throwsErrno(t, 'EINVAL', () => kernel.openPinnedMap(`${pins}/link`))
    throwsErrno(t, 'ENOENT', () => kernel.openPinnedLink(`${pins}/none`))
    again.detach()
    t.is(again.info().cgroupId, 0n)
    throwsErrno(t, 'ENOLINK', () => again.update(connect4))
    again.close()
    object.close()
  },

  'a pinned program still attaches'(t, rig) {
    const { kernel, cgroup, pins } = rig
    const object = load(rig)
    const path = `${pins}/program`
    const { id } = member(object.programs, 'sample_refuse4')
    member(object.programs, 'sample_refuse4').pin(path)
    object.close()
    throwsErrno(t, 'EBADF', () => member(object.programs, 'sample_refuse4').attachCgroup(cgroup))
    const again = kernel.openPinnedProgram(path)
    t.is(again.id, id)
    const link = again.attachCgroup(cgroup)
    t.is(link.info().programId, id)
    link.detach()
    link.close()
    again.close()
    throwsErrno(t, 'EINVAL', () => kernel.openPinnedMap(path))
  },

  async 'sk_lookup attaches to a namespace'(t, rig) {
    const { kernel, namespace: path } = rig
    const object = load(rig)
    const namespace = await kernel.openNamespace(path)
    const lookup = member(object.programs, 'sample_lookup')
    const link = lookup.attachNetns(namespace.fd)
    t.like(link.info(), { type: 'netns', netnsInode: namespace.inode, programId: lookup.id })
    throwsErrno(t, 'EINVAL', () => member(object.programs, 'sample_tc').attachNetns(namespace.fd))
    throwsErrno(t, 'EBADF', () => lookup.attachNetns(NO_FD))
    throwsErrno(t, 'EBADF', () => lookup.attachNetns(-1))
    link.detach()
    t.is(link.info().netnsInode, 0)
    link.close()
    namespace.close()
    object.close()
  },

  async 'TCX attaches to a device of a namespace'(t, rig) {
    const { kernel, namespace: path } = rig
    const object = load(rig)
    const namespace = await kernel.openNamespace(path)
    const tc = member(object.programs, 'sample_tc')
    const ifindex = (await kernel.deviceIndex('weft0', namespace.fd)) ?? 0
    t.true(ifindex > 1)
    const missing = rig.hasTcx ? 'ENODEV' : 'EINVAL'
    await rejectsErrno(t, missing, () => tc.attachTcx('egress', 9999, namespace.fd), /tcx/)
    for (const direction of rig.hasTcx ? [] : (['ingress', 'egress'] as const)) {
      await rejectsErrno(t, 'EINVAL', () => tc.attachTcx(direction, ifindex, namespace.fd))
    }
    const links = rig.hasTcx ? await attachBoth(tc, ifindex, namespace.fd) : []
    for (const link of links) {
      t.like(link.info(), { type: 'tcx', ifindex })
      link.detach()
      t.is(link.info().ifindex, 0)
      link.close()
    }
    await rejectsErrno(t, 'EBADF', () => tc.attachTcx('egress', ifindex, NO_FD))
    await rejectsErrno(t, 'EINVAL', () => tc.attachTcx('egress', 0, namespace.fd))
    const connect4 = member(object.programs, 'sample_connect4')
    await rejectsErrno(t, 'EINVAL', () => connect4.attachTcx('egress', ifindex, namespace.fd))
    namespace.close()
    object.close()
  },

  async 'records of the ring buffer come whole and in order'(t, rig) {
    const object = load(rig)
    const ring = member(object.maps, 'sample_ring')
    const seen: number[] = []
    rig.emit(object, 64)
    const reader = rig.kernel.readRing(ring, (record) => {
      t.is(record.length, 8)
      t.is(record.readUInt32LE(4), record.readUInt32LE(0) * 2)
      seen.push(record.readUInt32LE(0))
    })
    for (const length of [65, 66, 67]) rig.emit(object, length)
    await until(() => seen.length === 4)
    rig.emit(object, 68)
    await until(() => seen.length === 5)
    t.deepEqual(seen, [64, 65, 66, 67, 68])
    reader.stop()
    reader.stop()
    throwsErrno(t, 'EINVAL', () => {
      rig.kernel.readRing(member(object.maps, 'sample_hash'), () => {})
    })
    object.close()
  },

  async 'an iterator is read to its end inside a namespace'(t, rig) {
    const { kernel, namespace: path } = rig
    const object = load(rig)
    const namespace = await kernel.openNamespace(path)
    const listener = await kernel.listen({ address: '127.0.0.1', port: 7777 }, namespace.fd)
    const link = member(object.programs, 'sample_iter').attachIter()
    t.is(link.info().type, 'iter')
    const inside = await kernel.readIter(link, namespace.fd)
    t.true(inside.includes(Buffer.from(Uint16Array.of(7777).buffer)))
    const outside = await kernel.readIter(link)
    t.false(outside.includes(Buffer.from(Uint16Array.of(7777).buffer)))
    throwsErrno(t, 'EOPNOTSUPP', () => link.detach())
    link.close()
    await rejectsErrno(t, 'EBADF', () => kernel.readIter(link))
    throwsErrno(t, 'EINVAL', () => member(object.programs, 'sample_tc').attachIter())
    kernel.closeFd(listener.fd)
    namespace.close()
    object.close()
  },

  'a test run answers, or says that the type has none'(t, rig) {
    const object = load(rig)
    const result = member(object.programs, 'sample_tc').testRun({ data: Buffer.alloc(64) })
    t.is(result.returnValue, 0)
    t.is(result.dataOut.length, 64)
    const sockops = member(object.programs, 'sample_sockops')
    throwsErrno(t, 'ENOTSUPP', () => sockops.testRun({ data: Buffer.alloc(64) }))
    throwsErrno(t, 'EINVAL', () => sockops.testRun({ repeat: 0 }))
    object.close()
  },

  'the layout of a struct is as the compiler made it'(t, rig) {
    const { kernel, sample } = rig
    t.deepEqual(kernel.structLayout(sample, 'sample_value'), {
      name: 'sample_value',
      size: 16,
      members: [
        { name: 'count', offset: 0, size: 8 },
        { name: 'address', offset: 8, size: 4 },
        { name: 'port', offset: 12, size: 2 },
        { name: 'flags', offset: 14, size: 2 },
      ],
    })
    t.is(kernel.structLayout(sample, 'nothing'), undefined)
    throwsErrno(t, 'EINVAL', () => kernel.structLayout(Buffer.from('no object'), 'sample_value'))
  },
}

async function attachBoth(
  tc: BpfProgram,
  ifindex: number,
  namespaceFd: number,
): Promise<readonly BpfLink[]> {
  return [
    await tc.attachTcx('ingress', ifindex, namespaceFd),
    await tc.attachTcx('egress', ifindex, namespaceFd),
  ]
}
