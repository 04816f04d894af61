#!/usr/bin/env node
import { launch } from './launch.js';

await launch('kvs-client', 'client-main.js');
