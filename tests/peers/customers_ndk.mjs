// NDK as a customer of a worker: its own request, encryption and feedback classes, free and paid through NWC.
import { assert, given, load, now, run, within } from './harness.mjs'

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

async function buy(worker, encrypted, text) {
  const dvm = new NDKUser({ pubkey: worker })
  const request = new NDKDVMRequest(ndk)
  request.kind = 5050
  request.created_at = now()
  request.addInput(text, 'text')
  request.addParam('marks', '2')
  request.output = 'text/plain'
  if (encrypted) await request.encryption(dvm, signer)
  else request.dvm = dvm
  await request.sign()
  const said = []
  const result = new Promise((resolve, reject) => ndk.subscribe({ kinds: [6050, 7000], '#e': [request.id] }, { closeOnEose: false }, {
    async onEvent(event) {
      try {
        if (event.kind === 6050) {
          const made = NDKDVMJobResult.from(event)
          assert.equal(made.jobRequestId, request.id)
          if (encrypted) await made.decrypt(dvm, signer)
          else assert.equal((await made.jobRequest)?.id ?? request.id, request.id)
          return resolve({ said, content: made.content })
        }
        const feedback = await NDKDVMJobFeedback.from(event)
        said.push(feedback.status)
        if (feedback.status === 'payment-required') await pay(feedback.tags.find(t => t[0] === 'amount')[2])
        if (feedback.status === 'error') reject(new Error(feedback.content))
      } catch (error) { reject(error) }
    },
  }))
  await request.publish()
  return within(result, 12000, 'the result').catch(error => { throw new Error(`${error.message}, heard ${said}`) })
}

const checks = {}
for (const [price, worker] of [['free', given.free], ['paid', given.paid]])
  for (const encrypted of [false, true])
    checks[`${price} ${encrypted ? 'encrypted' : 'plain'}`] = async () => {
      const { said, content } = await buy(worker, encrypted, 'hello')
      assert.equal(content, 'hello!!')
      assert.equal(said.filter(s => s === 'payment-required').length, price === 'paid' ? 1 : 0)
      assert.ok(me.pubkey)
    }
await run(checks)
