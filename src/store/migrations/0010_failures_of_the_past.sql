-- Why devices failed at a deployment, as it was when another took its place: JSON, the most frequent first. Null is none.

ALTER TABLE deployment_series ADD COLUMN failures TEXT;
