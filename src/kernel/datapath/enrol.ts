// Brings a pod into the mesh step by step, and out again; whatever fails leaves nothing behind.
import { join } from 'node:path'
import type { Log } from '../../base/log.ts'
import { errorText } from '../../base/mesh-error.ts'
import { LISTENING_KEY } from '../abi.ts'
import type { PodEnrolment } from '../datapath.ts'
import type { CgroupPlace } from './cgroup.ts'
import { addRoutes, findDevice, removeRoutes } from './network.ts'
import {
  attachGuard,
  attachLookup,
  closeListeners,
  cookieKey,
  detachPod,
  encodePod,
  familiesOf,
  hideListeners,
  openListeners,
  type PodState,
  podState,
  stampOf,
} from './pod.ts'
import { type SweepParts, tagInherited } from './sweep.ts'

export interface EnrolmentParts extends SweepParts {
  readonly log: Log
  readonly agent: CgroupPlace
  /** Directory of the pods' pins. */
  readonly pods: string
}

export class Enrolment {
  readonly #parts: EnrolmentParts

  constructor(parts: EnrolmentParts) {
    this.#parts = parts
  }

  async enter(pod: PodEnrolment, workload: number, workers: number): Promise<PodState> {
    const state = podState(pod, workload)
    try {
      await this.#enter(state, pod.device, workers)
    } catch (error) {
      await this.leave(state)
      throw error
    }
    return state
  }

  async #enter(state: PodState, deviceName: string, workers: number): Promise<void> {
    const { kernel, programs } = this.#parts
    const directory = this.#directory(state.namespace.cookie)
    const key = cookieKey(state.namespace.cookie)
    const known = programs.map('weft_pods').lookup(key)
    const stamp = stampOf(known)
    const device = await findDevice(state.namespace, deviceName)
    await addRoutes(kernel, state.namespace, familiesOf(state))
    for (let worker = 0; worker < workers; worker++) {
      state.listeners.push(...(await openListeners(kernel, this.#maps(), state, worker)))
    }
    await attachLookup(kernel, programs, directory, state.namespace)
    // A pod that an agent before this one enrolled has been watched since: nothing in it is old.
    if (known === undefined) await tagInherited(this.#parts, state)
    await attachGuard(kernel, programs, directory, {
      pod: state,
      device,
      stamp,
      agent: this.#parts.agent,
    })
    programs.map('weft_pods').update(key, encodePod(state, stamp))
    // What "unknown: pass" let through between the first look and now.
    if (known === undefined) await tagInherited(this.#parts, state)
  }

  /** Each step is tried, whatever the others do: the namespace may be gone already. */
  async leave(state: PodState): Promise<void> {
    const { kernel, programs, log } = this.#parts
    const { cookie } = state.namespace
    const step = async (name: string, task: () => unknown): Promise<void> => {
      try {
        await task()
      } catch (error) {
        log.warn('datapath.withdraw-step', { uid: state.uid, step: name, error: errorText(error) })
      }
    }
    const all = [...state.listeners, ...state.silenced]
    await step('pods', () => programs.map('weft_pods').delete(cookieKey(cookie)))
    await step('hide', () => hideListeners(programs.map('weft_listeners'), state, state.listeners))
    await step('close', () => closeListeners(kernel, all))
    await step('detach', () => detachPod(kernel, this.#directory(cookie)))
    await step('listening', () => forgetListening(this.#parts, cookie))
    await step('routes', () => removeRoutes(kernel, state.namespace))
  }

  #directory(cookie: bigint): string {
    return join(this.#parts.pods, String(cookie))
  }

  #maps() {
    const { programs } = this.#parts
    return { listeners: programs.map('weft_listeners'), listener: programs.map('weft_listener') }
  }
}

/** Cleans up after a pod of an earlier agent whose namespace is gone. */
export function withdrawUnknown(parts: EnrolmentParts, cookie: bigint): void {
  parts.programs.map('weft_pods').delete(cookieKey(cookie))
  detachPod(parts.kernel, join(parts.pods, String(cookie)))
  forgetListening(parts, cookie)
  parts.log.info('datapath.collected', { cookie: String(cookie) })
}

function forgetListening(parts: EnrolmentParts, cookie: bigint): void {
  const listening = parts.programs.map('weft_listening')
  for (const key of listening.keys()) {
    if (LISTENING_KEY.decode(key).netns === cookie) listening.delete(key)
  }
}
