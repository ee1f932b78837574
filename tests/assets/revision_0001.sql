-- A database as the first migration made it, with one run of rq1 on six images. Never edit.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE datasets (
	id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	root TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	CONSTRAINT pk_datasets PRIMARY KEY (id), 
	CONSTRAINT uq_datasets_digest UNIQUE (digest)
);
INSERT INTO "datasets" VALUES(1,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','photos','/photos',6);
CREATE TABLE facts (
	model_id INTEGER NOT NULL, 
	method_id INTEGER NOT NULL, 
	role VARCHAR(32) NOT NULL, 
	image_id INTEGER NOT NULL, 
	name VARCHAR(32) NOT NULL, 
	value FLOAT NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY (model_id, method_id, role, image_id, name), 
	CONSTRAINT fk_facts_image_id_images FOREIGN KEY(image_id) REFERENCES images (id), 
	CONSTRAINT fk_facts_method_id_methods FOREIGN KEY(method_id) REFERENCES methods (id), 
	CONSTRAINT fk_facts_model_id_models FOREIGN KEY(model_id) REFERENCES models (id)
)
 WITHOUT ROWID

;
INSERT INTO "facts" VALUES(1,1,'top1',1,'rival_in_contrast',1.0);
INSERT INTO "facts" VALUES(1,1,'top1',2,'rival_in_contrast',1.0);
INSERT INTO "facts" VALUES(1,1,'top1',3,'rival_in_contrast',0.0);
INSERT INTO "facts" VALUES(1,1,'top1',4,'rival_in_contrast',0.0);
INSERT INTO "facts" VALUES(1,1,'top1',5,'rival_in_contrast',1.0);
INSERT INTO "facts" VALUES(1,1,'top1',6,'rival_in_contrast',1.0);
CREATE TABLE images (
	id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	"row" INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	CONSTRAINT pk_images PRIMARY KEY (id), 
	CONSTRAINT fk_images_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT uq_images_dataset_id_row UNIQUE (dataset_id, "row")
);
INSERT INTO "images" VALUES(1,1,0,'0.jpg','[1]');
INSERT INTO "images" VALUES(2,1,1,'1.jpg','[1]');
INSERT INTO "images" VALUES(3,1,2,'2.jpg','[1]');
INSERT INTO "images" VALUES(4,1,3,'3.jpg','[1]');
INSERT INTO "images" VALUES(5,1,4,'4.jpg','[1]');
INSERT INTO "images" VALUES(6,1,5,'5.jpg','[1]');
CREATE TABLE maps (
	model_id INTEGER NOT NULL, 
	method_id INTEGER NOT NULL, 
	role VARCHAR(32) NOT NULL, 
	image_id INTEGER NOT NULL, 
	checksum BIGINT NOT NULL, 
	signature FLOAT, 
	CONSTRAINT pk_maps PRIMARY KEY (model_id, method_id, role, image_id), 
	CONSTRAINT fk_maps_image_id_images FOREIGN KEY(image_id) REFERENCES images (id), 
	CONSTRAINT fk_maps_method_id_methods FOREIGN KEY(method_id) REFERENCES methods (id), 
	CONSTRAINT fk_maps_model_id_models FOREIGN KEY(model_id) REFERENCES models (id)
)
 WITHOUT ROWID

;
INSERT INTO "maps" VALUES(1,1,'top1',1,1,0.1);
INSERT INTO "maps" VALUES(1,1,'top1',2,1,0.2);
INSERT INTO "maps" VALUES(1,1,'top1',3,1,0.3);
INSERT INTO "maps" VALUES(1,1,'top1',4,1,0.4);
INSERT INTO "maps" VALUES(1,1,'top1',5,1,0.5);
INSERT INTO "maps" VALUES(1,1,'top1',6,1,NULL);
CREATE TABLE methods (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	spec TEXT NOT NULL, 
	parameters TEXT NOT NULL, 
	inputs TEXT NOT NULL, 
	control BOOLEAN NOT NULL, 
	CONSTRAINT pk_methods PRIMARY KEY (id), 
	CONSTRAINT uq_methods_name_parameters_inputs UNIQUE (name, parameters, inputs)
);
INSERT INTO "methods" VALUES(1,'case','case','{"spec":"case"}','{}',0);
INSERT INTO "methods" VALUES(2,'gradcam','gradcam','{"spec":"gradcam"}','{}',0);
INSERT INTO "methods" VALUES(3,'random','random','{"spec":"random"}','{}',1);
CREATE TABLE models (
	id INTEGER NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	arch TEXT NOT NULL, 
	name TEXT NOT NULL, 
	weights VARCHAR(64) NOT NULL, 
	layer TEXT NOT NULL, 
	transform TEXT NOT NULL, 
	device TEXT NOT NULL, 
	dtype TEXT NOT NULL, 
	classes INTEGER NOT NULL, 
	CONSTRAINT pk_models PRIMARY KEY (id), 
	CONSTRAINT uq_models_key UNIQUE ("key")
);
INSERT INTO "models" VALUES(1,'model resnet','resnet','resnet.tag','wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww','features','eval','cpu','float32',10);
CREATE TABLE predictions (
	model_id INTEGER NOT NULL, 
	image_id INTEGER NOT NULL, 
	rank INTEGER NOT NULL, 
	class INTEGER NOT NULL, 
	logit FLOAT NOT NULL, 
	probability FLOAT NOT NULL, 
	CONSTRAINT pk_predictions PRIMARY KEY (model_id, image_id, rank), 
	CONSTRAINT fk_predictions_image_id_images FOREIGN KEY(image_id) REFERENCES images (id), 
	CONSTRAINT fk_predictions_model_id_models FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "predictions" VALUES(1,1,1,1,2.0,0.5);
INSERT INTO "predictions" VALUES(1,1,2,2,1.0,3.33333333333333314829e-01);
CREATE TABLE run_images (
	run_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	image_id INTEGER NOT NULL, 
	CONSTRAINT pk_run_images PRIMARY KEY (run_id, position), 
	CONSTRAINT fk_run_images_image_id_images FOREIGN KEY(image_id) REFERENCES images (id), 
	CONSTRAINT fk_run_images_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id), 
	CONSTRAINT uq_run_images_run_id_image_id UNIQUE (run_id, image_id)
);
INSERT INTO "run_images" VALUES(1,0,1);
INSERT INTO "run_images" VALUES(1,1,2);
INSERT INTO "run_images" VALUES(1,2,3);
INSERT INTO "run_images" VALUES(1,3,4);
INSERT INTO "run_images" VALUES(1,4,5);
INSERT INTO "run_images" VALUES(1,5,6);
CREATE TABLE runs (
	id INTEGER NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	question TEXT NOT NULL, 
	model_id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	reference TEXT NOT NULL, 
	parameters TEXT NOT NULL, 
	seed BIGINT NOT NULL, 
	batch_size INTEGER NOT NULL, 
	versions TEXT NOT NULL, 
	command TEXT NOT NULL, 
	created TEXT NOT NULL, 
	CONSTRAINT pk_runs PRIMARY KEY (id), 
	CONSTRAINT fk_runs_dataset_id_datasets FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	CONSTRAINT fk_runs_model_id_models FOREIGN KEY(model_id) REFERENCES models (id), 
	CONSTRAINT uq_runs_key UNIQUE ("key")
);
INSERT INTO "runs" VALUES(1,'rq1 resnet dddddddd 130070104959','rq1',1,1,'held-out half','{"correct_only":true,"percent":5.0,"threshold":50.0}',0,8,'{}','salcheck eval','2025-01-01T00:00:00+00:00');
CREATE TABLE scores (
	run_id INTEGER NOT NULL, 
	method_id INTEGER NOT NULL, 
	metric VARCHAR(32) NOT NULL, 
	level FLOAT NOT NULL, 
	image_id INTEGER NOT NULL, 
	value FLOAT, 
	note TEXT, 
	CONSTRAINT pk_scores PRIMARY KEY (run_id, method_id, metric, level, image_id), 
	CONSTRAINT fk_scores_image_id_images FOREIGN KEY(image_id) REFERENCES images (id), 
	CONSTRAINT fk_scores_method_id_methods FOREIGN KEY(method_id) REFERENCES methods (id), 
	CONSTRAINT fk_scores_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id)
)
 WITHOUT ROWID

;
INSERT INTO "scores" VALUES(1,1,'overlap',5.0,1,10.0,NULL);
INSERT INTO "scores" VALUES(1,1,'overlap',5.0,2,20.0,NULL);
INSERT INTO "scores" VALUES(1,1,'overlap',5.0,3,30.0,NULL);
INSERT INTO "scores" VALUES(1,1,'overlap',5.0,4,40.0,NULL);
INSERT INTO "scores" VALUES(1,1,'overlap',5.0,5,NULL,'excluded: not correctly classified');
INSERT INTO "scores" VALUES(1,1,'overlap',5.0,6,NULL,'blank: no positive value');
INSERT INTO "scores" VALUES(1,1,'tied',5.0,1,100.0,NULL);
INSERT INTO "scores" VALUES(1,1,'tied',5.0,2,0.0,NULL);
INSERT INTO "scores" VALUES(1,1,'tied',5.0,3,0.0,NULL);
INSERT INTO "scores" VALUES(1,1,'tied',5.0,4,0.0,NULL);
INSERT INTO "scores" VALUES(1,2,'overlap',5.0,1,60.0,NULL);
INSERT INTO "scores" VALUES(1,2,'overlap',5.0,2,70.0,NULL);
INSERT INTO "scores" VALUES(1,2,'overlap',5.0,3,80.0,NULL);
INSERT INTO "scores" VALUES(1,2,'overlap',5.0,4,90.0,NULL);
INSERT INTO "scores" VALUES(1,2,'overlap',5.0,5,NULL,'excluded: not correctly classified');
INSERT INTO "scores" VALUES(1,2,'overlap',5.0,6,NULL,'blank: no positive value');
INSERT INTO "scores" VALUES(1,2,'tied',5.0,1,0.0,NULL);
INSERT INTO "scores" VALUES(1,2,'tied',5.0,2,0.0,NULL);
INSERT INTO "scores" VALUES(1,2,'tied',5.0,3,0.0,NULL);
INSERT INTO "scores" VALUES(1,2,'tied',5.0,4,0.0,NULL);
INSERT INTO "scores" VALUES(1,3,'overlap',5.0,1,0.0,NULL);
INSERT INTO "scores" VALUES(1,3,'overlap',5.0,2,5.0,NULL);
INSERT INTO "scores" VALUES(1,3,'overlap',5.0,3,10.0,NULL);
INSERT INTO "scores" VALUES(1,3,'overlap',5.0,4,15.0,NULL);
INSERT INTO "scores" VALUES(1,3,'overlap',5.0,5,NULL,'excluded: not correctly classified');
INSERT INTO "scores" VALUES(1,3,'overlap',5.0,6,1.0,NULL);
INSERT INTO "scores" VALUES(1,3,'tied',5.0,1,0.0,NULL);
INSERT INTO "scores" VALUES(1,3,'tied',5.0,2,0.0,NULL);
INSERT INTO "scores" VALUES(1,3,'tied',5.0,3,0.0,NULL);
INSERT INTO "scores" VALUES(1,3,'tied',5.0,4,0.0,NULL);
INSERT INTO "scores" VALUES(1,3,'tied',5.0,6,0.0,NULL);
COMMIT;
