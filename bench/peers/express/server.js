// The peer: the guide's Express server as a competent user would write it today, for the three requests of the bench.
// Order of the guide: security headers, CORS, body, request id, access log, authentication, limits, validation, work,
// metrics. ACCESS_LOG=off shows what the log costs.
import { createSecretKey, randomUUID } from 'node:crypto';

import cors from 'cors';
import express from 'express';
import rateLimit from 'express-rate-limit';
import helmet from 'helmet';
import Joi from 'joi';
import jwt from 'jsonwebtoken';
import prometheus from 'prom-client';
import { Agent, request } from 'undici';
import winston from 'winston';

const MODEL = 'gemini-2.0-flash-exp';
const MODEL_URL = `${process.env.GEMINI_BASE_URL}/v1beta/models/${MODEL}`;
const SECRET = createSecretKey(process.env.JWT_SECRET, 'utf8'); // as a string it would be parsed as PEM each time
const PRICE = { input: 0.1, output: 0.4 }; // US dollars per million tokens
const PERMISSIONS = { user: ['agent:read', 'agent:execute', 'agent:streaming'], guest: ['agent:read'] };

const models = new Agent({ connections: null, pipelining: 1, keepAliveTimeout: 60_000 });

// --- Access log and metrics ---

const log = process.env.ACCESS_LOG === 'off' ? null : winston.createLogger({
  format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
  transports: [new winston.transports.Console()],
});

prometheus.collectDefaultMetrics();
const requests = new prometheus.Counter({
  name: 'http_requests_total', help: 'HTTP requests', labelNames: ['method', 'route', 'status'],
});
const durations = new prometheus.Histogram({
  name: 'http_request_duration_seconds', help: 'Duration of HTTP requests', labelNames: ['method', 'route', 'status'],
});
const tokens = new prometheus.Counter({
  name: 'llm_tokens_used_total', help: 'Tokens used', labelNames: ['model', 'agent', 'type'],
});
const calls = new prometheus.Counter({
  name: 'llm_calls_total', help: 'Calls of models', labelNames: ['model', 'agent', 'status'],
});
const cost = new prometheus.Counter({
  name: 'llm_cost_dollars_total', help: 'Cost of models, US dollars', labelNames: ['model', 'agent'],
});
const executions = new prometheus.Counter({
  name: 'agent_executions_total', help: 'Executions of agents', labelNames: ['agent', 'operation', 'status'],
});
const streams = new prometheus.Gauge({
  name: 'stream_sessions_active', help: 'Open streams', labelNames: ['agent'],
});
const sessions = new prometheus.Counter({
  name: 'stream_sessions_total', help: 'Streams', labelNames: ['agent', 'status'],
});

function observe(req, res, next) {
  const began = process.hrtime.bigint();
  res.on('finish', () => {
    const labels = { method: req.method, route: req.route?.path ?? 'none', status: res.statusCode };
    requests.inc(labels);
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    durations.observe(labels, seconds);
    log?.info('request', {
      requestId: req.id, method: req.method, path: req.path, status: res.statusCode, durationMs: seconds * 1000,
      caller: req.user?.sub, ip: req.ip,
    });
  });
  next();
}

function count(agent, operation, usage) {
  executions.inc({ agent, operation, status: 'completed' });
  calls.inc({ model: MODEL, agent, status: 'ok' });
  if (!usage) return;
  const { promptTokenCount: asked = 0, candidatesTokenCount: answered = 0 } = usage;
  tokens.inc({ model: MODEL, agent, type: 'input' }, asked);
  tokens.inc({ model: MODEL, agent, type: 'output' }, answered);
  cost.inc({ model: MODEL, agent }, (asked * PRICE.input + answered * PRICE.output) / 1e6);
}

// --- What every request passes ---

function identify(req, res, next) {
  req.id = req.get('x-request-id') ?? randomUUID();
  res.setHeader('x-request-id', req.id);
  next();
}

function authenticate(req, res, next) {
  const [scheme, token] = (req.get('authorization') ?? '').split(' ');
  try {
    if (scheme !== 'Bearer') throw new Error('no token');
    req.user = jwt.verify(token, SECRET, { algorithms: ['HS256'] });
    next();
  } catch {
    fail(req, res, 401, 'unauthenticated', 'A valid token is needed.');
  }
}

const permit = (permission) => (req, res, next) =>
  PERMISSIONS[req.user.role]?.includes(permission) ? next() : fail(req, res, 403, 'forbidden', `Needs ${permission}.`);

const limit = (name) => rateLimit({
  windowMs: 60_000, limit: 100_000_000, standardHeaders: 'draft-8', legacyHeaders: false, identifier: name,
  keyGenerator: (req) => `${name}:${req.user.sub}`,
});

const validate = (schema) => (req, res, next) => {
  const { value, error } = schema.validate(req.body, { abortEarly: false });
  if (error) {
    const details = error.details.map(({ path, message, type }) => ({ field: path.join('.'), message, type }));
    return fail(req, res, 400, 'validation_failed', 'Correct these fields.', details);
  }
  req.body = value;
  return next();
};

function fail(req, res, status, code, message, details = []) {
  res.status(status).json({ success: false, code, message, details, requestId: req.id });
}

// --- Requests ---

const blogPost = Joi.object({
  topic: Joi.string().min(3).max(200).required(),
  tone: Joi.string().valid('professional', 'casual', 'friendly', 'formal', 'humorous').default('professional'),
  length: Joi.string().valid('short', 'medium', 'long').default('medium'),
  keywords: Joi.array().items(Joi.string()).max(10).default([]),
  targetAudience: Joi.string(),
});
const flightSearch = Joi.object({
  origin: Joi.string().length(3).uppercase().required(),
  destination: Joi.string().length(3).uppercase().required(),
  date: Joi.date().iso().min('now').required(),
  returnDate: Joi.date().iso().greater(Joi.ref('date')),
  passengers: Joi.number().integer().min(1).max(9).default(1),
  class: Joi.string().valid('economy', 'premium', 'business', 'first').default('economy'),
});

const blogPrompt = ({ topic, tone, length, keywords, targetAudience }) =>
  `Write a ${length} blog post in Markdown about "${topic}" in a ${tone} tone` +
  `${targetAudience ? ` for ${targetAudience}` : ''}${keywords.length ? `, using ${keywords.join(', ')}` : ''}.`;
const flightPrompt = (search) =>
  `Suggest flights from ${search.origin} to ${search.destination} on ${search.date.toISOString().slice(0, 10)} ` +
  `for ${search.passengers} in ${search.class} class, as JSON with airline, flightNumber, departureTime and price.`;

// --- Agents ---

const AGENTS = [
  { name: 'travel', description: 'Plans trips: flights, hotels, itineraries, visas.', operations: [
    'searchFlights', 'searchHotels', 'generateItinerary', 'getDestinationRecommendations', 'getVisaRequirements',
    'createCompletePackage'] },
  { name: 'content', description: 'Writes: blog posts, social posts, video scripts, research.', operations: [
    'generateBlogPost', 'generateSocialPosts', 'generateVideoScript', 'researchTopic', 'generateContentCalendar'] },
  { name: 'innovation', description: 'Looks for ideas: ideation, trends, competitors, validation.', operations: [
    'generateIdeas', 'analyzeTrends', 'analyzeCompetitors', 'validateIdea', 'createBusinessModelCanvas'] },
].map((agent) => ({
  ...agent, registeredAt: new Date().toISOString(), capabilities: agent.operations, metadata: { category: agent.name },
  operations: agent.operations.map((name) => (
    { name, description: `Runs ${name}.`, limit: '20/minute', cacheSeconds: 300, streaming: 'tokens' })),
}));

const asked = (prompt, config = {}) => JSON.stringify({
  contents: [{ role: 'user', parts: [{ text: prompt }] }],
  generationConfig: { temperature: 0.7, maxOutputTokens: 8192, ...config },
});
const HEADERS = { 'content-type': 'application/json', 'x-goog-api-key': process.env.GEMINI_API_KEY };

async function ask(path, body) {
  const answer = await request(MODEL_URL + path, { method: 'POST', headers: HEADERS, body, dispatcher: models });
  if (answer.statusCode !== 200) throw new Error(`the model answered ${answer.statusCode}`);
  return answer.body;
}

const usageOf = (usage) => ({
  promptTokens: usage.promptTokenCount, completionTokens: usage.candidatesTokenCount, totalTokens: usage.totalTokenCount,
});

const run = (agent, operation, promptOf, resultOf, config) => async (req, res, next) => {
  const began = performance.now();
  try {
    const answer = await (await ask(':generateContent', asked(promptOf(req.body), config))).json();
    count(agent, operation, answer.usageMetadata);
    res.json({
      success: true, agent, operation, runId: `run_${randomUUID()}`,
      result: resultOf(answer.candidates[0].content.parts[0].text), model: MODEL,
      usage: usageOf(answer.usageMetadata), cached: false, duration: `${Math.round(performance.now() - began)}ms`,
    });
  } catch (error) {
    next(error);
  }
};

const article = (text) => {
  const wordCount = text.split(/\s+/).length;
  return { title: text.slice(0, text.indexOf('\n')), content: text, wordCount, readingTime: Math.ceil(wordCount / 238) };
};

async function streamBlog(req, res) {
  const began = performance.now();
  const runId = `run_${randomUUID()}`;
  let number = 0;
  let text = '';
  let usage = {};
  const send = (event, data) =>
    res.write(`id: ${runId}:${++number}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  let body;
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' });
  res.on('close', () => body?.destroy());
  streams.inc({ agent: 'content' });
  send('connected', { message: 'Stream connected', runId, agent: 'content', operation: 'generateBlogPost' });
  try {
    body = await ask(':streamGenerateContent?alt=sse', asked(blogPrompt(req.body)));
    body.setEncoding('utf8');
    let rest = '';
    for await (const chunk of body) {
      const events = (rest + chunk).split('\r\n\r\n');
      rest = events.pop();
      for (const event of events) {
        if (!event.startsWith('data: ')) continue;
        const answer = JSON.parse(event.slice(6));
        if (answer.usageMetadata) usage = answer.usageMetadata;
        const piece = answer.candidates?.[0]?.content?.parts?.[0]?.text;
        if (piece) {
          text += piece;
          send('token', { chunk: piece });
        }
      }
    }
    count('content', 'generateBlogPost', usage);
    send('progress', { progress: 100, message: 'Done' });
    send('complete', {
      totalTokens: usage.totalTokenCount, duration: `${Math.round(performance.now() - began)}ms`,
      usage: usageOf(usage), model: MODEL, cached: false, result: article(text),
    });
  } catch (error) {
    if (!res.destroyed) send('error', { success: false, code: 'model_failed', message: error.message, requestId: req.id });
  } finally {
    streams.dec({ agent: 'content' });
    sessions.inc({ agent: 'content', status: res.destroyed ? 'left' : 'completed' });
    res.end();
  }
}

// --- The application ---

const app = express();
app.disable('x-powered-by');
app.use(helmet());
app.use(cors({ origin: ['http://localhost:5173'], credentials: true }));
app.use(express.json({ limit: '1mb' }));
app.use(identify, observe);
app.get('/api/health/live', (req, res) => res.json({ status: 'ok' }));
app.use(authenticate, limit('global'));
app.get('/api/metrics', async (req, res) => res.type(prometheus.register.contentType).send(await prometheus.register.metrics()));
app.get('/api/agents/list', permit('agent:read'), (req, res) =>
  res.json({ success: true, count: AGENTS.length, agents: AGENTS }));
app.post('/api/agents/content/generateBlogPost', permit('agent:execute'), limit('content'), limit('generateBlogPost'),
  validate(blogPost), run('content', 'generateBlogPost', blogPrompt, article));
app.post('/api/agents/travel/searchFlights', permit('agent:execute'), limit('travel'), limit('searchFlights'),
  validate(flightSearch), run('travel', 'searchFlights', flightPrompt, JSON.parse, { responseMimeType: 'application/json' }));
app.post('/api/stream/blog', permit('agent:streaming'), limit('content'), limit('generateBlogPost'),
  validate(blogPost), streamBlog);
app.use((req, res) => fail(req, res, 404, 'not_found', 'There is nothing here.'));
app.use((error, req, res, next) => {
  if (res.headersSent) return next(error);
  return fail(req, res, error.status ?? 502, 'failed', error.message);
});

const server = app.listen(Number(process.env.PORT), '127.0.0.1', 2048);
server.keepAliveTimeout = 75_000;
process.on('SIGTERM', () => { server.closeAllConnections(); server.close(() => process.exit(0)); });
