#!/usr/bin/env node
import { launch } from './launch.js';

await launch('kvs-server', 'server-main.js');
