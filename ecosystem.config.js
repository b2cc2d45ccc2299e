// `pm2 start ecosystem.config.js`. The server's settings are in .env, which it reads itself; what stands here would win over it.
const fs = require('fs')
const path = require('path')

const dotenv = path.join(__dirname, '.env')
const text = fs.existsSync(dotenv) ? fs.readFileSync(dotenv, 'utf8') : ''
const inDotenv = [...text.matchAll(/^[ \t]*(?:export[ \t]+)?DRAIN_TIMEOUT_S[ \t]*=[ \t]*["']?([\d.]+)/gm)].at(-1)?.[1]
const DRAIN_TIMEOUT_S = Number(process.env.DRAIN_TIMEOUT_S || inDotenv || 30)

module.exports = {
  apps: [
    {
      name: 'amrikyy-phase2',
      cwd: __dirname,
      script: '.venv/bin/amrikyy',
      args: 'serve',
      interpreter: 'none',
      // One process of PM2's: `cluster` is for Node, and more workers are the server's own matter (WEB_CONCURRENCY).
      exec_mode: 'fork',
      instances: 1,
      env: { APP_ENV: 'production' },
      // PM2 stops it with SIGINT and kills it after this many milliseconds: later than the last run may end.
      kill_timeout: (DRAIN_TIMEOUT_S + 10) * 1000,
      // A server that cannot start, say for a wrong setting, is tried less and less often, up to every 15 seconds.
      exp_backoff_restart_delay: 200,
      // As in the other deployment files: twice what 1,000 open streams take, so more is a leak, whose restart lets runs end.
      // PM2 looks at the process that it has started alone: with WEB_CONCURRENCY that is the supervisor, and no worker.
      max_memory_restart: '1G',
      // No `time`: a log line is JSON with a time of its own. Merged: the names below, without the process's number.
      merge_logs: true,
      error_file: './logs/err.log',
      out_file: './logs/out.log',
      log_file: './logs/combined.log',
    },
  ],
}
