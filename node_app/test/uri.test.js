import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BadSetting, readConfig } from '../config.js';
import { Database } from '../database.js';

const folder = mkdtempSync(join(tmpdir(), 'uri-'));
after(() => rmSync(folder, { recursive: true }));
const garbage = join(folder, 'garbage.pem');
writeFileSync(garbage, 'no certificate');

const check = (options, { scheme = 'mongodb', host = 'me:secret@h' } = {}) => {
  new Database(readConfig({ MONGODB_URI: `${scheme}://${host}/?${options}` })).check();
};

for (const options of [
  '', 'maxPoolSize=0&minPoolSize=5', 'maxPoolSize=5&minPoolSize=5', 'maxConnecting=1&maxIdleTimeMS=1000',
  'connectTimeoutMS=20&socketTimeoutMS=1000&serverSelectionTimeoutMS=1&waitQueueTimeoutMS=1&heartbeatFrequencyMS=500',
  'tls=true', 'ssl=true', 'tls=true&tlsAllowInvalidCertificates=true&tlsAllowInvalidHostnames=true', 'tlsInsecure=true',
  'authMechanism=SCRAM-SHA-256&authSource=admin', 'authMechanism=PLAIN', 'authSource=x',
  'readPreference=secondary&readPreferenceTags=dc:ny,rack:1&readPreferenceTags=&maxStalenessSeconds=90',
  'readConcernLevel=majority&w=majority&journal=true&wtimeoutMS=100', 'retryReads=false&retryWrites=false',
  'compressors=zlib&zlibCompressionLevel=9', 'compressors=none', 'replicaSet=rs', 'directConnection=true',
  'loadBalanced=true', 'appName=x', 'localThresholdMS=5', 'serverMonitoringMode=poll',
]) {
  test(`obeys ${options}`, () => check(options));
}

test('obeys the properties of a mechanism that has some', () => {
  check('authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:test', { host: 'h' });
});

test('obeys the options of mongodb+srv', () => {
  check('srvMaxHosts=2&srvServiceName=x&tls=false', { scheme: 'mongodb+srv', host: 'a.example.com' });
});

for (const [options, reason] of [
  ['timeoutMS=100', /timeoutMS/], ['maxPoolSize=many', /maxPoolSize/], ['maxPoolSize=1&minPoolSize=2', /minPoolSize/],
  ['connectTimeoutMS=-1', /connectTimeoutMS/], ['nonsense=1', /nonsense/], ['appName=', /appName/],
  ['readPreference=primary&readPreferenceTags=a:b', /readPreference/], ['readPreferenceTags=a:b', /readPreference/],
  ['readPreference=nearby', /nearby/],
  ['readPreference=secondary&maxStalenessSeconds=89', /maxStalenessSeconds/],
  ['readConcernLevel=x', /readConcernLevel/],
  ['compressors=snappy', /compressors/], ['compressors=zlib,snappy', /compressors/],
  ['compressors=lzma', /lzma/], ['compressors=zlib&zlibCompressionLevel=10', /zlib/],
  ['authMechanismProperties=SERVICE_NAME:x', /authMechanismProperties/],
  ['authMechanism=SCRAM-SHA-256&authMechanismProperties=SERVICE_NAME:x', /authMechanismProperties/],
  ['authMechanism=GSSAPI', /authMechanism/], ['proxyHost=p', /proxyHost/], ['authMechanism=NONE', /NONE/],
  ['tls=false&tlsInsecure=true', /tls=false/], ['tls=true&ssl=false', /tls/], ['ssl=false&tlsInsecure=true', /tls/],
  ['tlsInsecure=true&tlsAllowInvalidHostnames=true', /tlsInsecure/],
  ['tlsCAFile=/nowhere.pem', /tlsCAFile \/nowhere\.pem .*ENOENT/], [`tlsCAFile=${garbage}`, /tlsCAFile .*garbage\.pem/],
  [`tlsCRLFile=${garbage}`, /tlsCRLFile/], [`tlsCertificateKeyFile=${garbage}`, /tlsCertificateKeyFile/],
  [`tlsCAFile=${folder}`, /tlsCAFile .*EISDIR/],
  ['srvMaxHosts=1', /srvMaxHosts/], ['directConnection=perhaps', /directConnection/],
  ['loadBalanced=true&replicaSet=rs', /loadBalanced/], ['replicaSet=a&replicaSet=b', /replicaSet/],
]) {
  test(`refuses ${options} in one line that says why, and shows no password`, () => {
    assert.throws(() => check(options), ({ constructor, message }) => {
      assert.equal(constructor, BadSetting);
      assert.match(message, /^MONGODB_URI .*$|^MONGODB_URI: .*$/);
      assert.match(message, reason);
      assert.doesNotMatch(message, /secret/);
      return true;
    });
  });
}

for (const uri of [
  'http://me:secret@h', 'mongodb://me:secret@h:port', 'mongodb://me:se/cret@h', 'mongodb://me:pa?x=secret@h/',
  'mongodb://me:secret@', 'mongodb://me:secret%@h', 'mongodb://me:secret@[h', 'mongodb+srv://me:secret@h:1', 'secret',
]) {
  test(`refuses ${uri} without showing the password`, () => {
    assert.throws(() => new Database(readConfig({ MONGODB_URI: uri })).check(), ({ constructor, message }) => {
      return constructor === BadSetting && message.startsWith('MONGODB_URI') && !/secret|cret/.test(message);
    });
  });
}
