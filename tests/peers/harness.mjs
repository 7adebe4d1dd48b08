// Runs the checks of one client and prints a line of JSON for each: what passed, what failed and why.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

export const given = JSON.parse(process.argv[2])
const require = createRequire(given.modules + '/x.js')
export const load = name => import(pathToFileURL(given.modules + '/node_modules/' + name).href)
globalThis.WebSocket = require('ws')

export const now = () => Math.floor(Date.now() / 1000)
export const sleep = ms => new Promise(done => setTimeout(done, ms))
export const within = (promise, ms, what) =>
  Promise.race([promise, sleep(ms).then(() => { throw new Error('too late: ' + what) })])

export async function run(checks) {
  for (const [name, check] of Object.entries(checks)) {
    try {
      const value = await within(check(), 15000, name)
      console.log(JSON.stringify({ name, ok: true, value }))
    } catch (error) {
      console.log(JSON.stringify({ name, ok: false, value: String(error?.stack ?? error) }))
    }
  }
  process.exit(0)
}
export { assert }
