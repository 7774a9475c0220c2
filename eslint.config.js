import js from '@eslint/js';
import globals from 'globals';

export default [
  { ignores: ['target/', 'fuzz/', '.cache/', 'typings/', 'test/typings/'] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2024, sourceType: 'module', globals: globals.nodeBuiltin },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      'no-var': 'error',
      'prefer-const': 'error',
      eqeqeq: ['error', 'always'],
      'object-shorthand': 'error',
      'no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'no-promise-executor-return': 'off',
      'no-implicit-coercion': 'error',
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-useless-return': 'error',
      'prefer-promise-reject-errors': 'error',
    },
  },
  {
    // The builders of rows and of documents, and a test: what may reach generated code is said there.
    files: ['js/transfer/rows.cjs', 'js/transfer/json-templates.cjs', 'test/unit/rows.test.js'],
    rules: { 'no-new-func': 'off' },
  },
  { files: ['js/**'], rules: { 'no-console': 'error', 'no-shadow': 'error' } },
  {
    files: ['**/*.cjs'],
    languageOptions: { sourceType: 'commonjs', globals: globals.node },
  },
];
