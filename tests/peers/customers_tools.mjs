// nostr-tools as a customer of a worker: free and paid (through NWC), plain and in both encryptions.
import { assert, given, load, now, run, within } from './harness.mjs'

const { SimplePool, finalizeEvent, generateSecretKey, getPublicKey, nip04, nip44, verifyEvent } = await load('nostr-tools/lib/esm/index.js')
const { makeNwcRequestEvent, parseConnectionString } = await load('nostr-tools/lib/esm/nip47.js')

const pool = new SimplePool()
const relays = [given.url]
const sk = generateSecretKey(), pk = getPublicKey(sk)
const seal = { nip44: (to, text) => nip44.encrypt(text, nip44.getConversationKey(sk, to)), nip04: (to, text) => nip04.encrypt(sk, to, text) }
const open = { nip44: (by, text) => nip44.decrypt(text, nip44.getConversationKey(sk, by)), nip04: (by, text) => nip04.decrypt(sk, by, text) }

async function pay(invoice) {
  const { pubkey, secret } = parseConnectionString(given.wallet)
  await Promise.any(pool.publish(relays, await makeNwcRequestEvent(pubkey, Uint8Array.from(Buffer.from(secret, 'hex')), invoice)))
}

async function buy(worker, scheme, text) {
  const inputs = [['i', text, 'text'], ['param', 'marks', '2']]
  const request = finalizeEvent({
    kind: 5050, created_at: now(),
    tags: scheme ? [['p', worker], ['encrypted']] : [...inputs, ['p', worker]],
    content: scheme ? await seal[scheme](worker, JSON.stringify(inputs)) : '',
  }, sk)
  const said = []
  const result = new Promise((resolve, reject) => pool.subscribe(relays, { kinds: [6050, 7000], '#e': [request.id] }, {
    async onevent(event) {
      try {
        assert.ok(verifyEvent(event))
        assert.equal(event.pubkey, worker)
        assert.deepEqual(event.tags.find(t => t[0] === 'p'), ['p', pk])
        assert.equal(event.tags.some(t => t[0] === 'encrypted'), Boolean(scheme))
        if (event.kind === 6050) return resolve({ said, content: scheme ? await open[scheme](worker, event.content) : event.content })
        const tags = scheme ? JSON.parse(await open[scheme](worker, event.content)) : event.tags
        const [, status, words] = tags.find(t => t[0] === 'status')
        assert.ok(words)
        said.push(status)
        if (status === 'payment-required') await pay(tags.find(t => t[0] === 'amount')[2])
        if (status === 'error') reject(new Error(words))
      } catch (error) { reject(error) }
    },
  }))
  await Promise.any(pool.publish(relays, request))
  return within(result, 12000, 'the result')
}

const checks = {}
for (const [price, worker] of [['free', given.free], ['paid', given.paid]])
  for (const scheme of [null, 'nip44', 'nip04'])
    checks[`${price} ${scheme ?? 'plain'}`] = async () => {
      const { said, content } = await buy(worker, scheme, 'hello')
      assert.equal(content, 'hello!!')
      assert.equal(said.filter(s => s === 'payment-required').length, price === 'paid' ? 1 : 0)
    }
await run(checks)
