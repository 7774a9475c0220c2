// The package has a native addon, which a bundle can't contain.
export default { serverExternalPackages: ['hyperiondb-client'] };
