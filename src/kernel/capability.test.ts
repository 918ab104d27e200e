import test from 'ava'
import { type KernelForms, probeForms } from './capability.ts'
import { type ErrnoName, kernelError } from './errno.ts'
import type { BpfLink, BpfObject, BpfProgram } from './kernel.ts'

interface Machine {
  readonly tcx: ErrnoName | 'attached'
  readonly end?: ErrnoName
}

/** A kernel that answers so, and what was done to it. */
function machine({ tcx, end }: Machine) {
  const done: string[] = []
  const link = { close: () => done.push('link closed') } as unknown as BpfLink
  const program = {
    attachTcx: async () => {
      if (tcx !== 'attached') throw kernelError('bpf(BPF_LINK_CREATE) tcx', tcx)
      return link
    },
  } as unknown as BpfProgram
  const object = {
    programs: new Map([['a', program]]),
    close: () => done.push('object closed'),
  } as unknown as BpfObject
  const loadEnd = () => {
    if (end !== undefined) throw kernelError('load end', end)
    done.push('end loaded')
  }
  return { done, trials: { loadGuard: () => object, loadEnd } }
}

const CASES: readonly (readonly [string, Machine, KernelForms])[] = [
  ['6.18', { tcx: 'ENODEV' }, { guard: 'tcx', end: 'sock_destroy' }],
  ['6.5', { tcx: 'EINVAL' }, { guard: 'clsact', end: 'sock_destroy' }],
  ['6.1', { tcx: 'EINVAL', end: 'ESRCH' }, { guard: 'clsact', end: 'inet_diag' }],
  ['an odd verifier', { tcx: 'ENODEV', end: 'EACCES' }, { guard: 'tcx', end: 'inet_diag' }],
]

for (const [what, answers, expected] of CASES) {
  test(`finds the forms of ${what}, and leaves nothing open`, async (t) => {
    const { done, trials } = machine(answers)
    const forms = await probeForms(trials)
    t.deepEqual(forms, expected)
    t.true(Object.isFrozen(forms))
    t.true(done.includes('object closed'))
  })
}

test('what is forbidden is not mistaken for an older kernel', async (t) => {
  const { done, trials } = machine({ tcx: 'EPERM' })
  await t.throwsAsync(probeForms(trials), { message: /EPERM/ })
  t.deepEqual(done, ['object closed'])
})

test('an unexpected success is undone', async (t) => {
  const { done, trials } = machine({ tcx: 'attached' })
  t.is((await probeForms(trials)).guard, 'tcx')
  t.deepEqual(done, ['link closed', 'object closed', 'end loaded'])
})

test('older forms can be asked for, and what they do without is not loaded', async (t) => {
  const { done, trials } = machine({ tcx: 'ENODEV' })
  const older = { guard: 'clsact', end: 'inet_diag' } as const
  t.deepEqual(await probeForms(trials, older), older)
  t.deepEqual(done, [])
})
