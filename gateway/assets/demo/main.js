document.title = 'Gateway';
