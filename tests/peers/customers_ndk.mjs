// NDK as a customer of workers: its own request, encryption and feedback classes, free and paid through NWC.
import { assert, given, load, now, run, shop } from './harness.mjs'

const { default: NDK, NDKEvent, NDKPrivateKeySigner, NDKUser, NDKDVMRequest, NDKDVMJobFeedback, NDKDVMJobResult } =
  await load('@nostr-dev-kit/ndk/dist/index.mjs')
const { makeNwcRequestEvent, parseConnectionString } = await load('nostr-tools/lib/esm/nip47.js')

const signer = NDKPrivateKeySigner.generate()
const ndk = new NDK({ explicitRelayUrls: [given.url], signer, enableOutboxModel: false })
await ndk.connect(5000)
const me = await signer.user()

async function pay(invoice) {
  const { pubkey, secret } = parseConnectionString(given.wallet)
  const event = await makeNwcRequestEvent(pubkey, Uint8Array.from(Buffer.from(secret, 'hex')), invoice)
  await new NDKEvent(ndk, event).publish()
}

async function buy({ worker, kind, inputs, scheme }) {
  const dvm = new NDKUser({ pubkey: worker })
  const request = new NDKDVMRequest(ndk)
  request.kind = kind
  request.created_at = now()
  for (const [name, ...rest] of inputs) name === 'i' ? request.addInput(...rest) : request.addParam(...rest)
  if (scheme) await request.encryption(dvm, signer)
  else request.dvm = dvm
  await request.sign()
  const said = []
  const result = new Promise((resolve, reject) => ndk.subscribe({ kinds: [kind + 1000, 7000], '#e': [request.id] }, { closeOnEose: false }, {
    async onEvent(event) {
      try {
        if (event.kind !== 7000) {
          const made = NDKDVMJobResult.from(event)
          assert.equal(made.jobRequestId, request.id)
          const shown = event.tags.map(t => t[0])
          if (scheme) await made.decrypt(dvm, signer)
          else assert.equal((await made.jobRequest)?.id ?? request.id, request.id)
          return resolve({ content: made.content, tags: scheme ? [] : event.tags, shown })
        }
        const feedback = await NDKDVMJobFeedback.from(event)
        said.push(feedback.status)
        if (feedback.status === 'payment-required') await pay(feedback.tags.find(t => t[0] === 'amount')[2])
        if (feedback.status === 'error') reject(new Error(feedback.content))
      } catch (error) { reject(error) }
    },
  }))
  await request.publish()
  const made = await result
  made.bills = said.filter(s => s === 'payment-required').length
  return made
}

if (given.orders) await shop(buy)
const checks = {}
for (const [price, worker] of [['free', given.free], ['paid', given.paid]])
  for (const encrypted of [false, true])
    checks[`${price} ${encrypted ? 'encrypted' : 'plain'}`] = async () => {
      const { content, bills } = await buy({ worker, kind: 5050, inputs: [['i', 'hello', 'text'], ['param', 'marks', '2']], scheme: encrypted })
      assert.deepEqual([content, bills], ['hello!!', price === 'paid' ? 1 : 0])
      assert.ok(me.pubkey)
    }
await run(checks)
