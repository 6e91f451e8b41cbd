"""Where model files come from: folders and S3 buckets, behind a disk cache that all processes share."""
