import test from 'ava'
import { containerOfPath } from './container-layout.ts'

const ID = '0123456789abcdef'.repeat(4)
const OTHER = 'f'.repeat(64)
const POD = 'kubepods-burstable-pod1b2c.slice'

/** Path, the id found in it, and how many segments the container's own cgroup has. */
const layouts: readonly (readonly [string, string | undefined, number?])[] = [
  [`docker-${ID}.scope`, ID, 1],
  [`docker/${ID}`, ID, 2],
  [`kubepods.slice/kubepods-burstable.slice/${POD}/cri-containerd-${ID}.scope`, ID, 4],
  [`kubepods/burstable/pod1b2c/${ID}`, ID, 4],
  [`kubepods.slice/kubepods-besteffort.slice/${POD}/crio-${ID}.scope`, ID, 4],
  [`kubepods/burstable/pod1b2c/crio-${ID}`, ID, 4],
  [`machine.slice/libpod-${ID}.scope`, ID, 2],
  [`machine.slice/libpod-${ID}.scope/container`, ID, 2],
  [`libpod_parent/libpod-${ID}`, ID, 2],
  [`default/${ID}`, ID, 2],
  [`nerdctl-${ID}.scope`, ID, 1],
  ['system.slice/runc-web.scope', 'web', 2],
  ['crun-web-1.scope', 'web-1', 1],
  [`docker-${ID}.scope/system.slice/docker-${OTHER}.scope`, ID, 1],
  [`docker-${ID}.scope/${OTHER}`, ID, 1],
  [`machine.slice/libpod-conmon-${ID}.scope`, undefined],
  [`kubepods.slice/crio-conmon-${ID}.scope`, undefined],
  ['shop_web', undefined],
  [`shop/${ID.slice(0, 63)}`, undefined],
  [`shop/${ID.toUpperCase()}`, undefined],
  ['docker-.scope', undefined],
  ['kubepods/burstable/pod1b2c', undefined],
]

for (const [path, id, segments = 0] of layouts) {
  test(`${path} belongs to ${id === undefined ? 'no container' : `container ${id.slice(0, 6)}`}`, (t) => {
    const own = path.split('/').slice(0, segments).join('/')
    t.deepEqual(containerOfPath(path), id === undefined ? undefined : { id, path: own })
  })
}
