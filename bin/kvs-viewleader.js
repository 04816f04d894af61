#!/usr/bin/env node
import { launch } from './launch.js';

await launch('kvs-viewleader', 'viewleader-main.js');
