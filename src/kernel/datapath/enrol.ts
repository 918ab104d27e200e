// Brings a pod into the mesh step by step, and out again; whatever fails leaves nothing behind.
import { join } from 'node:path'
import type { Log } from '../../base/log.ts'
import { errorText } from '../../base/mesh-error.ts'
import { LISTENING_KEY, POD } from '../abi.ts'
import type { PodEnrolment } from '../datapath.ts'
import type { Namespace } from '../kernel.ts'
import type { CgroupPlace } from './cgroup.ts'
import { detachClsact } from './clsact.ts'
import { closeListeners, hideListeners, openListeners } from './listeners.ts'
import { addRoutes, findDevice, removeRoutes } from './network.ts'
import { findNamespace, type PinnedPod, reportLost } from './pinned.ts'
import {
  attachGuard,
  attachLookup,
  cookieKey,
  detachPod,
  encodePod,
  familiesOf,
  hideEnrolled,
  type PodState,
  podState,
  showEnrolled,
  stampOf,
} from './pod.ts'
import { endOwn, endStranded, type SweepParts, tagInherited } from './sweep.ts'

export interface EnrolmentParts extends SweepParts {
  readonly log: Log
  readonly agent: CgroupPlace
  /** Directory of the pods' pins. */
  readonly pods: string
  /** The other pods that are enrolled. */
  readonly others: readonly PodState[]
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
      form: programs.forms.guard,
    })
    programs.map('weft_pods').update(key, encodePod(state, stamp))
    // What "unknown: pass" let through between the first look and now.
    if (known === undefined) await tagInherited(this.#parts, state)
    showEnrolled(this.#enrolledMaps(), state)
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
    await step('enrolled', () => hideEnrolled(this.#enrolledMaps(), cookie))
    await step('pods', () => programs.map('weft_pods').delete(cookieKey(cookie)))
    await step('hide', () => hideListeners(programs.map('weft_listeners'), state, state.listeners))
    await step('close', () => closeListeners(kernel, all))
    // From the source's side first: it reports the end. Nothing new can come since `enrolled`.
    await step('direct to', () => endStranded(this.#parts, this.#parts.others))
    await step('own', () => endOwn(this.#parts, state))
    const directory = this.#directory(cookie)
    await step('filters', () =>
      programs.forms.guard === 'clsact'
        ? detachClsact(kernel, directory, state.namespace)
        : undefined,
    )
    await step('detach', () => detachPod(kernel, directory))
    await step('listening', () => forgetListening(this.#parts, cookie))
    await step('routes', () => removeRoutes(kernel, state.namespace))
  }

  /** Withdraws pods of an agent before this one, of which only pins are known. */
  async collect(pods: readonly PinnedPod[]): Promise<void> {
    if (pods.length === 0) return
    const { kernel, log } = this.#parts
    for (const pod of pods) {
      const namespace = await findNamespace(kernel, pod)
      try {
        if (namespace === undefined) {
          this.#forget(pod.cookie)
          reportLost(log, pod)
        } else await this.leave(this.#stateOf(namespace))
      } finally {
        namespace?.close()
      }
      log.info('datapath.collected', { cookie: String(pod.cookie) })
    }
    await endStranded(this.#parts, this.#parts.others)
  }

  /** All that can be done without the namespace. */
  #forget(cookie: bigint): void {
    const { kernel, programs } = this.#parts
    hideEnrolled(this.#enrolledMaps(), cookie)
    programs.map('weft_pods').delete(cookieKey(cookie))
    detachPod(kernel, this.#directory(cookie))
    forgetListening(this.#parts, cookie)
  }

  /** As far as the kernel remembers it; an earlier agent's listeners ended with that agent. */
  #stateOf(namespace: Namespace): PodState {
    const { cookie } = namespace
    const known = this.#parts.programs.map('weft_pods').lookup(cookieKey(cookie))
    const { workload, ip4, ip6 } = POD.decode(known ?? Buffer.alloc(POD.size))
    const uid = `of namespace ${cookie}`
    const listeners: PodState['listeners'] = []
    return { uid, workload, namespace, ip4, ip6, hostNetwork: false, listeners, silenced: [] }
  }

  #directory(cookie: bigint): string {
    return join(this.#parts.pods, String(cookie))
  }

  #enrolledMaps() {
    const { programs } = this.#parts
    return { enrolled: programs.map('weft_enrolled'), addresses: programs.map('weft_addresses') }
  }

  #maps() {
    const { programs } = this.#parts
    return { listeners: programs.map('weft_listeners'), listener: programs.map('weft_listener') }
  }
}

function forgetListening(parts: EnrolmentParts, cookie: bigint): void {
  const listening = parts.programs.map('weft_listening')
  for (const key of listening.keys()) {
    if (LISTENING_KEY.decode(key).netns === cookie) listening.delete(key)
  }
}
