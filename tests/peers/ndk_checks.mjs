import { assert, given, load, now, run, within } from './harness.mjs'

const ndkLib = await load('@nostr-dev-kit/ndk/dist/index.mjs')
const { default: NDK, NDKEvent, NDKPrivateKeySigner, NDKRelayAuthPolicies, NDKUser, NDKDVMRequest, NDKDVMJobFeedback,
  NDKSubscriptionCacheUsage, giftWrap, giftUnwrap, NDKKind } = ndkLib

const connect = async signer => {
  const ndk = new NDK({ explicitRelayUrls: [given.url], signer, enableOutboxModel: false })
  ndk.relayAuthDefaultPolicy = NDKRelayAuthPolicies.signIn({ ndk, signer })
  await ndk.connect(5000)
  return ndk
}
const signer = NDKPrivateKeySigner.generate(), otherSigner = NDKPrivateKeySigner.generate()
const ndk = await connect(signer), other = await connect(otherSigner)
const me = await signer.user(), you = await otherSigner.user()
const make = (kind, content = '', tags = []) => new NDKEvent(ndk, { kind, content, tags, created_at: now() })
const only = { cacheUsage: NDKSubscriptionCacheUsage.ONLY_RELAY, closeOnEose: true, groupable: false }

await run({
  async 'publish and fetch'() {
    const event = make(1, 'hello from NDK', [['t', 'ndk']])
    const relays = await event.publish()
    assert.equal(relays.size, 1)
    const found = await ndk.fetchEvents({ kinds: [1], '#t': ['ndk'] }, only)
    assert.deepEqual([...found].map(e => e.id), [event.id])
    assert.equal((await ndk.fetchEvent(event.encode())).content, 'hello from NDK')
  },
  async 'profile and replaceable events'() {
    const user = ndk.getUser({ pubkey: me.pubkey })
    user.profile = { name: 'First' }
    await user.publish()
    const profile = await other.getUser({ pubkey: me.pubkey }).fetchProfile(only)
    assert.equal(profile.name, 'First')
    const list = make(30000, 'one', [['d', 'x']])
    await list.publish()
    await list.publishReplaceable?.()
    assert.equal((await ndk.fetchEvents({ kinds: [30000], authors: [me.pubkey], '#d': ['x'] }, only)).size, 1)
  },
  async 'live subscription and job feedback'() {
    const request = new NDKDVMRequest(ndk)
    request.kind = 5100
    request.addInput('a lighthouse', 'text')
    request.addParam('size', '256x256')
    request.created_at = now()
    await request.sign()
    const heard = new Promise(resolve => ndk.subscribe({ kinds: [7000], '#e': [request.id] }, { closeOnEose: false },
      { onEvent: resolve }))
    await request.publish()
    const [asked] = [...(await other.fetchEvents({ kinds: [5100], authors: [me.pubkey] }, only))]
    assert.deepEqual(asked.tags.find(t => t[0] === 'i').slice(0, 3), ['i', 'a lighthouse', 'text'])
    const feedback = new NDKDVMJobFeedback(other)
    feedback.status = 'processing'
    feedback.tags.push(['e', request.id], ['p', me.pubkey])
    await feedback.publish()
    assert.equal((await within(heard, 5000, 'feedback')).pubkey, you.pubkey)
  },
  async 'gift wraps after AUTH'() {
    const rumor = make(14, 'a secret')
    rumor.pubkey = me.pubkey
    const wrapped = await giftWrap(rumor, you, signer)
    wrapped.ndk = ndk
    await wrapped.publish()
    const found = await within(other.fetchEvents({ kinds: [1059], '#p': [you.pubkey] }, only), 8000, 'wraps')
    const [opened] = await Promise.all([...found].map(e => giftUnwrap(e, undefined, otherSigner)))
    assert.equal(opened.content, 'a secret')
    assert.equal((await ndk.fetchEvents({ kinds: [1059], '#p': [you.pubkey] }, only)).size, 0)
  },
  async 'deletion'() {
    const event = make(1, 'to be forgotten', [['t', 'gone']])
    await event.publish()
    await event.delete()
    assert.equal((await other.fetchEvents({ kinds: [1], '#t': ['gone'] }, only)).size, 0)
  },
  async 'many subscriptions on one connection'() {
    const asked = Array.from({ length: 40 }, (_, i) => other.fetchEvents({ kinds: [1], '#t': ['t' + i] }, only))
    const answers = await Promise.all(asked)
    assert(answers.every(found => found.size === 0))
  },
})
