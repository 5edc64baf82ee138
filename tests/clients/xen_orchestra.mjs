// Xen Orchestra's own XenAPI client connects, watches objects and sees a change; prints `ok`.
import { createRequire } from 'node:module'

const require = createRequire(process.cwd() + '/')
const { createClient } = require('xen-api')

const xapi = createClient({
  url: process.env.XENAPI_URL,
  auth: { user: process.env.XENAPI_USERNAME, password: process.env.XENAPI_PASSWORD },
  readOnly: false,
  watchEvents: true,
})
const timer = setTimeout(() => {
  console.error('the client did not get there in time')
  process.exit(1)
}, 180_000)
const check = (truth, what) => {
  if (!truth) {
    throw new Error(what)
  }
}

await xapi.connect()
await xapi.objectsFetched
const all = () => Object.values(xapi.objects.all)
const host = all().find(object => object.$type === 'host')
check(host !== undefined, 'there is a host')
check(xapi.pool.$master === host, 'links between objects are resolved')

const seen = new Promise(resolve => xapi.objects.on('add', added => {
  const sr = Object.values(added).find(object => object?.name_label === 'watched')
  if (sr !== undefined) {
    resolve(sr)
  }
}))
const ref = await xapi.call('SR.create', host.$ref, { location: process.argv[2] }, 0, 'watched', '', 'file', 'user', false, {})
check((await seen).$ref === ref, 'the new SR was seen')

const result = await xapi.callAsync('VDI.create', {
  name_label: 'asynchronous', name_description: '', SR: ref, virtual_size: 4 * 1024 ** 2, type: 'user', sharable: false,
  read_only: false, other_config: {}, xenstore_data: {}, sm_config: {}, tags: [],
})
const vdi = String(result).replace(/<\/?value>/g, '')
await xapi.barrier(vdi)
check(xapi.getObject(vdi).virtual_size === 4 * 1024 ** 2, 'the task made the VDI')
await xapi.callAsync('VDI.destroy', vdi)
await xapi.call('PBD.unplug', xapi.getObject(ref).PBDs[0])
await xapi.call('SR.forget', ref)
await xapi.disconnect()
clearTimeout(timer)
console.log('ok')
