// `node server.js`: the first process supervises, the others, which are started with this same file, serve.

import cluster from 'node:cluster';

const NEEDED = { major: 20, minor: 19 };
// The driver's files do not load on an older version, so they are imported after this.
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < NEEDED.major || (major === NEEDED.major && minor < NEEDED.minor)) {
  console.error(`Node.js ${NEEDED.major}.${NEEDED.minor} or newer is needed, this is ${process.version}`);
  process.exit(2);
}

const { BadSetting, readConfig } = await import('./config.js');
try {
  const config = readConfig(process.env);
  if (cluster.isPrimary) {
    const { supervise } = await import('./primary.js');
    await supervise(config);
  } else {
    const { serve } = await import('./worker.js');
    await serve(config);
  }
} catch (error) {
  if (!(error instanceof BadSetting)) throw error;
  console.error(error.message);
  process.exit(2);
}
